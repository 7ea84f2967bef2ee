"""Files of Lifelong Tickets' released program and of torch.nn.utils.prune, read and written.

The network here is written after the specification alone, under the names of that program.
"""

from __future__ import annotations

import pickle
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import prune

from lifelong import load_run, load_ticket
from lifelong.finished import evaluate, export
from lifelong.parts.state_files import authors, ours, read_state
from tests.conftest import execute, results_of

ORDER = (9, 8, 7, 1, 5, 0, 3, 4, 6, 2)
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
WIDTH = 8
COUNTS = {"train": 6, "val": 2, "test": 30}


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.bn1(x))
        kept = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(a)
        out: Tensor = kept + self.conv2(F.relu(self.bn2(self.conv1(a))))
        return out


class Released(nn.Module):
    """Pre-activation ResNet-18 with five heads of two classes in each branch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 3, 1, 1, bias=False)
        inputs = WIDTH
        for stage in range(4):
            outputs = WIDTH * 2**stage
            first = Block(inputs, outputs, 1 if stage == 0 else 2)
            setattr(self, f"layer{stage + 1}", nn.Sequential(first, Block(outputs, outputs, 1)))
            inputs = outputs
        self.linear_main = nn.ModuleList([nn.Linear(inputs, 2) for _ in range(5)])
        self.linear = nn.ModuleList([nn.Linear(inputs, 2) for _ in range(5)])

    def forward(self, x: Tensor, heads: int) -> Tensor:
        h = self.conv1(x)
        for stage in range(4):
            h = getattr(self, f"layer{stage + 1}")(h)
        features = h.mean((2, 3))
        return torch.cat([self.linear_main[head](features) for head in range(heads)], 1)

    def convolutions(self) -> list[tuple[nn.Module, str]]:
        return [(m, "weight") for m in self.modules() if isinstance(m, nn.Conv2d)]


def normalised(pixels: NDArray[np.uint8]) -> Tensor:
    """(n, h, w, c) of 0 to 255 as the program serves it."""
    x = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).float() / 255
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
    return (x - mean) / deviation


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pickles {class: uint8 (n, 32, 32, 3)}, exemplars among the training images, and a pool."""
    folder = tmp_path_factory.mktemp("authors")
    draw = np.random.default_rng(0)
    for part, count in COUNTS.items():
        found = {
            label: draw.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8) for label in range(10)
        }
        (folder / f"cifar10_{part}.pkl").write_bytes(pickle.dumps(found))
        if part == "train":
            saved = {label: images[[1, 4]] for label, images in found.items()}
            (folder / "cifar10_save.pkl").write_bytes(pickle.dumps(saved))
    pool = {"data": draw.integers(0, 256, (40, 32, 32, 3)).astype(np.uint8), "label": np.arange(40)}
    (folder / "cifar10_80m_150k.pkl").write_bytes(pickle.dumps(pool))
    np.savetxt(folder / "class_order.txt", np.array(ORDER))
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Released, Path]:
    """A pruned network and its checkpoint, an optimizer object in it, as the program saves them."""
    torch.manual_seed(5)
    network = Released()
    network.train()
    network(torch.randn(64, 3, 32, 32), 5)  # running means of its own
    prune.global_unstructured(network.convolutions(), prune.L1Unstructured, amount=0.6)
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9)
    network(torch.randn(8, 3, 32, 32), 5).sum().backward()
    optimizer.step()
    path = tmp_path_factory.mktemp("checkpoint") / "task5_best_model.pt"
    content = {"epoch": 3, "state_dict": network.state_dict(), "optimizer": optimizer}
    torch.save(content, path)
    return network.eval(), path


def masks_of(network: Released, path: Path) -> None:
    """A file `mask-N.pt`: the masks alone."""
    state = network.state_dict()
    torch.save({name: value for name, value in state.items() if "mask" in name}, path)


def test_names_map_one_to_one(checkpoint: tuple[Released, Path]) -> None:
    network, path = checkpoint
    names = [name.removesuffix("_orig").removesuffix("_mask") for name in network.state_dict()]
    assert [authors(ours(name)) for name in names] == names
    assert all(ours(name) != name for name in names)
    assert load_ticket(path).remaining == pytest.approx(0.4, abs=1e-4)


@pytest.mark.parametrize("stage", [1, 3, 5])
def test_a_checkpoint_is_measured(
    data: Path, checkpoint: tuple[Released, Path], stage: int, capsys: Any
) -> None:
    network, path = checkpoint
    given = [f"file={path}", "data=cil_cifar10", f"backbone.width={WIDTH}", f"data_dir={data}"]
    assert evaluate.main([*given, f"visit={stage}"]) == 0
    told = capsys.readouterr().out
    test = pickle.loads((data / "cifar10_test.pkl").read_bytes())
    some: list[bool] = []
    for task in range(stage):
        right: list[bool] = []
        for place in (2 * task, 2 * task + 1):
            answers = network(normalised(test[ORDER[place]]), stage).argmax(1)
            right += (answers == place).tolist()
        some.append(0 < np.mean(right) < 1)
        assert re.search(rf"task {task + 1} +{100 * np.mean(right):.2f} %", told)
    assert any(some)
    assert re.search(r"weights remaining +40\.00 %", told)


def test_what_does_not_fit_is_refused(
    data: Path, checkpoint: tuple[Released, Path], tmp_path: Path, capsys: Any
) -> None:
    network, path = checkpoint
    masks_of(network, tmp_path / "mask.pt")
    (tmp_path / "text.pt").write_text("nothing")
    for file, width, message in (
        (path, 16, "does not fit the backbone and heads"),
        (tmp_path / "mask.pt", WIDTH, "holds masks and no weights"),
        (tmp_path / "text.pt", WIDTH, "not a file of weights"),
        (tmp_path / "none.pt", WIDTH, "no such file"),
    ):
        given = [f"file={file}", "data=cil_cifar10", f"backbone.width={width}", f"data_dir={data}"]
        assert evaluate.main(given) == 2
        assert message in capsys.readouterr().err


class Touch:
    """Unpickled it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    state = {"state_dict": {"conv1.weight": torch.ones(2, 3, 3, 3)}, "x": Touch(tmp_path / "ran")}
    torch.save(state, tmp_path / "evil.pt")
    with suppress(ValueError):  # it is refused, or passed over
        assert list(read_state(tmp_path / "evil.pt")) == ["conv1.weight"]
    assert not (tmp_path / "ran").exists()


@pytest.fixture(scope="module")
def runs(
    data: Path, checkpoint: tuple[Released, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """A dense run on the files, and the checkpoint's network trained once more in its place."""
    network, path = checkpoint
    folder = tmp_path_factory.mktemp("runs")
    masks_of(network, folder / "mask-2.pt")
    options = [
        "data=cil_cifar10", f"data.classes={data / 'class_order.txt'}", "data.tasks=5",
        f"paths.data_dir={data}", f"backbone.width={WIDTH}", "epochs=1", "batch_size=8",
        "logger=none", "unlabeled=npz", f"unlabeled_file={data / 'cifar10_80m_150k.pkl'}",
    ]  # fmt: skip
    dense = ["strategy=cil", "tasks=2", f"strategy.exemplars={data / 'cifar10_save.pkl'}"]
    assert execute(folder / "dense", *options, *dense, "strategy.neighbours=3") == 0
    again = ["strategy=retrain", f"strategy.run={folder / 'dense'}", "strategy.visit=2"]
    again += [f"strategy.mask={folder / 'mask-2.pt'}", f"strategy.start={path}"]
    assert execute(folder / "again", *options, *again) == 0
    return {"dense": folder / "dense", "again": folder / "again", "masks": folder / "mask-2.pt"}


def test_streams_exemplars_and_pools_of_the_program(data: Path, runs: dict[str, Path]) -> None:
    results = results_of(runs["dense"])
    assert results["images"]["train"] == [12, 12]
    assert results["images"]["val"] == [4, 4]
    assert results["images"]["test"] == [60, 60]
    run = load_run(runs["dense"])
    assert [task.classes for task in run.tasks.values()] == [(9, 8), (7, 1)]
    strategy: Any = run.strategy
    assert strategy.kept.tasks.bincount().tolist() == [4, 4]
    assert strategy.method["selected"] == {"1": 12}


def test_a_ticket_of_the_program_is_trained_once_more(
    checkpoint: tuple[Released, Path], runs: dict[str, Path]
) -> None:
    network, _ = checkpoint
    strategy: Any = load_run(runs["again"]).strategy
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            ours_ = strategy.network.state_dict()[ours(f"{name}.weight")]
            start = strategy.start[ours(f"{name}.weight")]
            assert not ours_[module.weight_mask == 0].any()
            assert torch.equal(start, module.weight_orig * module.weight_mask)
            assert not torch.equal(ours_, start)


def test_exports(runs: dict[str, Path], data: Path, tmp_path: Path) -> None:
    for form in ("state", "prune", "release", "onnx"):
        given = ["ticket=true", str(runs["again"]), str(tmp_path / form), f"as={form}"]
        assert export.main(given) == 0
    run = load_run(runs["again"])
    strategy: Any = run.strategy
    test = pickle.loads((data / "cifar10_test.pkl").read_bytes())
    pixels = np.concatenate([test[label] for label in ORDER[:4]])
    with torch.no_grad():
        x = normalised(pixels)
        wanted = torch.cat(strategy.network.main_scores(strategy.network.body(x), [0, 1]), 1)
    state = torch.load(tmp_path / "state")
    plain = {n: v for n, v in strategy.network.state_dict().items() if torch.is_tensor(v)}
    assert state.keys() == plain.keys()
    assert all(torch.equal(state[name], value) for name, value in plain.items())

    released = Released()
    prune.global_unstructured(released.convolutions(), prune.L1Unstructured, amount=0.1)
    missing, unexpected = released.load_state_dict(torch.load(tmp_path / "release"), strict=False)
    assert not unexpected
    assert all(re.match(r"linear(_main)?\.[234]\.", name) for name in missing)
    with torch.no_grad():
        torch.testing.assert_close(released.eval()(x, 2), wanted)

    pruned = torch.load(tmp_path / "prune")
    assert torch.equal(pruned["body.stem.weight_mask"] != 0, strategy.masks.keep["stem.weight"])
    again = load_ticket(tmp_path / "prune")
    assert again.mask["kept"] == strategy.masks.kept()

    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx"))
    for count in (12, 5):
        images = pixels[:count].transpose(0, 3, 1, 2).astype(np.float32)
        scores = session.run(None, {"images": images})[0]
        np.testing.assert_allclose(scores, wanted[:count].numpy(), rtol=1e-4, atol=1e-4)


def test_foreign_exemplars_are_refused(data: Path, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / "other.pkl"
    path.write_bytes(
        pickle.dumps({label: np.zeros((1, 32, 32, 3), np.uint8) for label in range(10)})
    )
    options = ["data=cil_cifar10", f"paths.data_dir={data}", f"backbone.width={WIDTH}"]
    options += ["unlabeled=none", f"strategy.exemplars={path}", "strategy=cil", "batch_size=8"]
    options += ["tasks=2"]
    assert execute(tmp_path / "run", *options) == 2
    assert "2 of its 2 images of task 1 are not among the training" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["0 1 2", "a b", "0 " * 10])
def test_orders_that_are_none_are_refused(
    data: Path, tmp_path: Path, content: str, capsys: Any
) -> None:
    (tmp_path / "order.txt").write_text(content)
    options = ["data=cil_cifar10", f"paths.data_dir={data}", "strategy=cil", "data.tasks=5"]
    options += ["batch_size=8", f"backbone.width={WIDTH}", "unlabeled=none"]
    assert execute(tmp_path / "run", *options, f"data.classes={tmp_path / 'order.txt'}") == 2
    assert f"data.classes={tmp_path / 'order.txt'}: " in capsys.readouterr().err
