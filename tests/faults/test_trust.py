"""What files of others can do: nothing. And what damage is noticed: all of it."""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import shutil
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from lifelong import load_run
from lifelong.configuration import trust
from lifelong.configuration.stored import read_config, read_plain
from lifelong.data.sources import source
from lifelong.data.sources.archive import read_archive
from lifelong.finished import evaluate, export
from lifelong.report import page as report
from lifelong.storage.checkpoint import finished_visits, latest, read
from lifelong.storage.files import sealed, write_text
from lifelong.storage.locks import remove_leftovers
from tests.conftest import execute, results_of
from tests.faults.conftest import Tally

QUICK = ["strategy=finetune", "data=digits", "data.fraction=0.2", "tasks=2", "epochs=1"]
QUICK += ["batch_size=16", "logger=none", "trainer=cpu"]
# What could be built of a configuration, and does something with the machine.
HOSTILE = [
    "os.system", "os.popen", "os.remove", "posix.system", "subprocess.run", "subprocess.Popen",
    "builtins.eval", "builtins.exec", "builtins.open", "builtins.__import__", "builtins.print",
    "shutil.rmtree", "shutil.copy", "shutil.move", "pathlib.Path.unlink", "pathlib.Path.write_text",
    "importlib.import_module", "runpy.run_path", "pickle.loads", "pickle.load", "marshal.loads",
    "ctypes.CDLL", "socket.create_connection", "urllib.request.urlretrieve", "webbrowser.open",
    "numpy.load", "numpy.save", "numpy.fromfile", "torch.load", "torch.save", "torch.hub.load",
    "torch.hub.download_url_to_file", "torch.ops.load_library", "torch.classes.load_library",
    "torch.utils.cpp_extension.load", "torch.jit.load", "torch.package.PackageImporter",
    "torch.nn.modules.module.warnings.warn", "torch.nn.init.normal_", "torch.optim.Optimizer.step",
    "torch.nn.parallel.distributed.os.system", "torch.optim.lr_scheduler.types.MethodType",
    "torchvision.datasets.utils.download_url", "torchvision.models.get_model_weights.__wrapped__",
    "torchvision.models._api.sys.exit", "torchvision.io.read_file",
    "torchvision.transforms.torch.load", "os", "a b", "",
    "lifelong.storage.files.write_text", "lifelong.storage.files.load",
    "lifelong.storage.files.shutil.rmtree",
    "lifelong.run.os.system", "lifelong.finished.load.load_run", "lifelong.export.pickle.loads",
    "hydra.utils.get_method", "hydra.utils.instantiate", "omegaconf.OmegaConf.save",
    "PIL.Image.open", "my_module.anything", "__main__.main", "lightning.Trainer.fit",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert execute(folder, *QUICK) == 0
    return folder


def copy_of(whole: Path, folder: Path) -> Path:
    folder.mkdir()
    for path in whole.iterdir():
        if path.is_file():
            shutil.copy(path, folder / path.name)
    return folder


def test_what_conf_names_is_allowed_and_makers_of_pytorch() -> None:
    assert {"lifelong.strategies.Strategy", "torch.optim.SGD"} <= trust.named()
    for name in (
        *("torch.nn.Linear", "torch.optim.AdamW", "torch.optim.lr_scheduler.StepLR"),
        *("torchvision.models.resnet50", "torchvision.transforms.v2.RandomCrop"),
    ):
        assert trust.allowed(name), name


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_else_is_built(name: str, tally: Tally) -> None:
    tally("hostile")
    assert not trust.allowed(name)


def test_a_run_of_each_is_refused(whole: Path, tmp_path: Path) -> None:
    folder = copy_of(whole, tmp_path / "run")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for name in HOSTILE:
        config["strategy"]["network"]["body"] = {"_target_": name, "_args_": [str(tmp_path / "x")]}
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        with pytest.raises(ValueError, match="would run "):
            load_run(folder)


@pytest.mark.parametrize("place", ["strategy", "optimizer", "data", "data.test_transform", "new"])
def test_a_hostile_run_is_refused_before_anything_is_built(
    place: str, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, mark = copy_of(whole, tmp_path / "run"), tmp_path / "executed"
    config = yaml.safe_load((folder / "config.yaml").read_text())
    node = config
    *above, last = place.split(".")
    for key in above:
        node = node[key]
    node[last] = {
        "_target_": "pathlib.Path.touch",
        "self": {"_target_": "pathlib.Path", "_args_": [str(mark)]},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(
        ValueError, match=r"would run pathlib.Path, pathlib.Path.touch, .*trust=true"
    ):
        load_run(folder)
    capsys.readouterr()
    assert evaluate.main([f"run={folder}"]) == 2
    assert export.main([str(folder), str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("would run pathlib.Path") == 2
    assert not mark.exists()


def test_own_parts_are_built_when_they_are_trusted(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_method.py").write_text(
        "from lifelong import Strategy\nclass Mine(Strategy):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "run"
    assert execute(folder, *QUICK, "strategy._target_=my_method.Mine") == 0
    with pytest.raises(ValueError, match=r"would run my_method.Mine, .*trust=true"):
        load_run(folder)
    assert type(load_run(folder, trust=True).strategy).__name__ == "Mine"
    assert evaluate.main([f"run={folder}", "trust=true"]) == 0
    assert export.main([str(folder), str(tmp_path / "out"), "trust=true"]) == 0


def flat(state: Any) -> list[Any]:
    if isinstance(state, dict):
        return [part for key in state for part in (key, *flat(state[key]))]
    if isinstance(state, list | tuple):
        return [part for value in state for part in flat(value)]
    return [state.tolist()] if isinstance(state, torch.Tensor) else [state]


def flipped(content: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1 :]


def test_no_flipped_bit_of_a_checkpoint_is_believed(whole: Path, tmp_path: Path) -> None:
    draw, refused = random.Random(0), 0
    path = list(finished_visits(whole).values())[-1]
    content, known = path.read_bytes(), str(flat(vars(read(path))))
    bent = tmp_path / "visit_02.ckpt"
    for _ in range(150):
        bent.write_bytes(flipped(content, draw))
        try:
            found = read(bent)
        except ValueError as error:
            refused += str(bent) in str(error)
            continue
        assert str(flat(vars(found))) == known  # a bit that says nothing
    assert refused > 75


def test_a_run_goes_on_from_the_checkpoint_before_a_flipped_one(
    whole: Path, tmp_path: Path
) -> None:
    folder = copy_of(whole, tmp_path / "run")
    (folder / "results.json").unlink()
    content = (folder / "visit_02.ckpt").read_bytes()
    place = content.find(b"data/") + 2000
    (folder / "visit_02.ckpt").write_bytes(content[:place] + b"\x55\xaa" + content[place + 2 :])
    saved, wrong = latest(folder)
    assert saved is not None
    assert saved.visit == 1
    assert "visit_02.ckpt" in wrong[0]
    assert execute(folder, *QUICK, "resume=auto") == 0
    assert results_of(folder)["accuracy"] == results_of(whole)["accuracy"]


def prepared(folder: Path) -> Any:
    images = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    labels = np.array([0, 1])
    origin = folder / "origin.zip"
    if not origin.exists():
        origin.write_bytes(b"x")
    made = source.Source("toy", images, labels, images, labels, ("a", "b"), str(origin))
    reads: list[int] = []
    found = source.prepared("toy", origin, folder, lambda: reads.append(1) or made)
    return found, len(reads)


def test_a_prepared_copy_with_any_damage_is_made_anew(tmp_path: Path) -> None:
    draw = random.Random(0)
    assert prepared(tmp_path)[1] == 1
    assert prepared(tmp_path)[1] == 0
    (index,) = (tmp_path / ".cache").glob("*.json")
    about = json.loads(index.read_text())
    damages: list[bytes] = [b"", b"null", b"[]", b"{}", b"\xff", index.read_bytes()[:50]]
    for key in about:
        damages.append(json.dumps({k: v for k, v in about.items() if k != key}).encode())
        damages.append(json.dumps(about | {key: None}).encode())
    damages.append(json.dumps(about | {"train_labels": [1, 0]}).encode())
    damages.append(json.dumps(about | {"classes": ["b", "a"]}).encode())
    for content in damages:
        index.write_bytes(content)
        found, reads = prepared(tmp_path)
        assert (reads, found.classes, found.train_labels.tolist()) == (1, ("a", "b"), [0, 1])
    array = index.with_suffix(".npy")
    content = array.read_bytes()
    for _ in range(60):
        array.write_bytes(flipped(content, draw))
        found, _ = prepared(tmp_path)
        assert found.train_images.tolist() == np.arange(96).reshape(2, 3, 4, 4).tolist()


def test_a_copy_that_cannot_be_kept_is_no_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(source, "write_json", full)
    for _ in range(2):
        found, reads = prepared(tmp_path)
        assert (found.name, reads) == ("toy", 1)


def test_archives_are_read_to_their_end(tmp_path: Path) -> None:
    """The checksum of a gzip file stands behind all else."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name in ("inside/a", "inside/b"):
            entry = tarfile.TarInfo(name)
            entry.size = 3000
            archive.addfile(entry, io.BytesIO(bytes(3000)))
    content = gzip.compress(plain.getvalue(), compresslevel=0)  # stored: a bit is a bit
    path = tmp_path / "x.tar.gz"
    path.write_bytes(content)
    assert read_archive(path, "inside", lambda file: file("a")) == bytes(3000)
    place = content.find(b"inside/b") - 1000
    path.write_bytes(content[:place] + b"\x01" + content[place + 1 :])
    with pytest.raises(ValueError, match="fetch it again"):
        read_archive(path, "inside", lambda file: file("a"))


def test_an_export_appears_whole_or_not(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, calls = tmp_path / "new" / "out", []
    with monkeypatch.context() as patch:

        def failing(path: Path, text: str) -> None:
            calls.append(path)
            if len(calls) == 3:
                raise OSError(28, "No space left on device", str(path))
            write_text(path, text)

        patch.setattr(export, "write_text", failing)
        assert export.main([str(whole), str(out)]) == 2
    assert len(calls) == 3
    assert not (tmp_path / "new").exists()
    assert export.main([str(whole), str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["models"]


def test_what_a_kill_left_is_removed(whole: Path, tmp_path: Path) -> None:
    """Where nobody else can be at work at once; elsewhere an hour later, if its process is gone."""
    folder = copy_of(whole, tmp_path / "run")
    (folder / "results.json").unlink()
    (folder / "figures").mkdir()
    left = [folder / ".a.json.7.tmp", folder / "figures" / ".b.png.7.tmp"]
    mine = [folder / ".draft.tmp", folder / "figures" / ".notes.tmp"]
    for path in (*left, *mine):
        path.write_text("half")
    assert execute(folder, *QUICK, "resume=auto") == 0
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in mine)
    shared = tmp_path / "shared"
    shared.mkdir()
    gone = 2**22 + 1  # no process has such a number
    for number in (gone, 1):
        (shared / f".x.npy.{number}.tmp").write_text("half")
    remove_leftovers(shared)
    assert len(list(shared.iterdir())) == 2
    for path in shared.iterdir():
        os.utime(path, (0, 0))
    remove_leftovers(shared)
    assert [path.name for path in shared.iterdir()] == [".x.npy.1.tmp"]


def test_short_texts_that_are_endless_are_refused(tmp_path: Path) -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{n}: &{n} [*{p}, *{p}, *{p}]\n" for p, n in zip("abcdefgh", "bcdefghi", strict=True)
    )
    for text in (bomb, "strategy: &s {a: *s}\n", "x: " * 100 + "1", "- " * 10_000, "a" * (1 << 21)):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        for reader in (read_config, read_plain):
            with pytest.raises(ValueError, match=r"config\.yaml"):
                reader(path)


@pytest.mark.page
def test_reports_are_not_made_of_what_is_damaged(whole: Path, tmp_path: Path) -> None:
    folder = copy_of(whole, tmp_path / "run")
    found = json.loads((folder / "results.json").read_text())
    for key, value in {
        "accuracy": [[0.5]], "visits": [1, 7], "seed": "one", "metrics": {"final_accuracy": "x"},
        "method": [], "images": {"train": 3}, "peak_accuracy_of_task": [1], "validation": {"0": 3},
    }.items():  # fmt: skip
        (folder / "results.json").write_text(json.dumps(sealed(found | {key: value})))
        before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        assert report.main([str(folder)]) == 2, key
        assert before == {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    (folder / "results.json").write_text(json.dumps(found).replace("0.", "NaN, 0.", 1))
    assert report.main([str(folder)]) == 2
