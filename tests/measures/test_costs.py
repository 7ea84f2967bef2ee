"""Bytes and multiply-adds, by hand."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from lifelong.backbones.mlp import mlp
from lifelong.comparison.groups import grouped
from lifelong.comparison.runs import read
from lifelong.comparison.tables import grids
from lifelong.data import Images
from lifelong.measures.costs import kept_bytes, multiply_adds, peak_memory
from lifelong.networks import MultiHead, Network
from lifelong.strategies import AGEM, ER, MAS, Joint, LwF, Strategy
from tests.conftest import execute, results_of, toy_visit

SGD = partial(torch.optim.SGD, lr=0.1)
PIXELS = 2 * 6 * 6
SIZE = PIXELS * 8 + 8 + 8 * 5 + 5  # parameters of the body


def learned(kind: type[Strategy], **options: object) -> Strategy:
    """In its second task."""
    body = partial(mlp, shape=(2, 6, 6), widths=(8, 5))
    made = kind(Network(body, MultiHead), SGD, **options)
    for index in range(2):
        made.begin_task(toy_visit(index))
        made.training_loss(toy_visit(index).train[torch.arange(4)])
    return made


HEADS = 2 * (5 * 3 + 3)
ALL = len(toy_visit().train) + len(toy_visit().task.val)  # images of a task
KEPT = [
    (Strategy, {}, {"network": 4 * (SIZE + HEADS)}),
    (MAS, {}, {"network": 4 * (SIZE + HEADS), "anchor": 2 * 4 * SIZE}),
    (LwF, {}, {"network": 4 * (SIZE + HEADS), "teacher": 4 * (SIZE + HEADS // 2)}),
    (Joint, {}, {"network": 4 * (SIZE + HEADS), "images": 2 * ALL * 4 * PIXELS}),
    (ER, {"memory": 6}, {"network": 4 * (SIZE + HEADS), "memory": 6 * 4 * PIXELS}),
]


@pytest.mark.parametrize(("kind", "options", "wanted"), KEPT)
def test_bytes(kind: type[Strategy], options: dict[str, int], wanted: dict[str, int]) -> None:
    found = kept_bytes(learned(kind, **options))
    assert found == wanted | {"total": sum(wanted.values())}


def test_bytes_of_what_a_method_keeps_beside_modules() -> None:
    """Tensors of its own, and those in dicts at any depth; a number is none."""
    made = learned(Strategy)
    plain = kept_bytes(made)["total"]
    made.gram, made.masks = torch.zeros(3, 3), {1: {"body": torch.zeros(10, dtype=torch.bool)}}
    made.loss = torch.zeros(())
    assert kept_bytes(made)["copies"] == 3 * 3 * 4 + 10
    assert kept_bytes(made)["total"] == plain + 46


def test_images_that_a_method_keeps_count_once() -> None:
    """In lists, dicts and visits; of parts of its own, too."""
    made = learned(Strategy)
    visit, image = toy_visit(1), 4 * PIXELS
    made.held = {1: visit.task.val, 2: [visit.task.val]}
    assert kept_bytes(made)["images"] == len(visit.task.val) * image
    made.more = [toy_visit(0)]
    assert kept_bytes(made)["images"] == (len(visit.task.val) + ALL) * image
    made.again: dict[str, object] = {}
    made.again["itself"] = made.again
    made.part = torch.nn.Identity()
    made.part.remembered = [torch.zeros(5), {"deeper": torch.zeros(3)}]
    assert kept_bytes(made)["part"] == 8 * 4


@pytest.mark.parametrize(
    ("options", "images"),
    [
        (["strategy=mas", "strategy.accumulate=recompute"], ("train",)),
        (["strategy=cil", "strategy.memory=5", "batch_size=48"], ("val",)),
        (["strategy=gdumb", "strategy.memory=20"], ("val",)),
        (["strategy=joint"], ("train", "val")),
    ],
)
def test_images_of_earlier_tasks(
    tmp_path: Path, options: list[str], images: tuple[str, ...]
) -> None:
    given = ["data=digits", "tasks=2", "epochs=1", "logger=none", "trainer=cpu"]
    assert execute(tmp_path, *given, "data.fraction=0.2", *options) == 0
    results = results_of(tmp_path)
    kept = sum(sum(results["images"][part]) for part in images)
    assert results["bytes_after_visit"][-1]["images"] == kept * 8 * 8


def test_the_best_epoch_of_a_task_is_not_kept() -> None:
    made = learned(Strategy)
    plain = kept_bytes(made)
    made.best = {"tensors": {"network.body.weight": torch.zeros(100, 100)}}
    assert kept_bytes(made) == plain


def test_multiply_adds() -> None:
    """A layer of i inputs and o outputs has i o an image forward, and twice that backward.

    The gradient in the images themselves is not needed.
    """
    forward = PIXELS * 8 + 8 * 5 + 5 * 3
    step = 3 * forward - PIXELS * 8
    batch = toy_visit(1).train[torch.arange(7)]
    made = learned(Strategy)
    before = {
        name: value.clone() for name, value in made.state_dict().items() if torch.is_tensor(value)
    }
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    assert multiply_adds(made, batch) == {"training_step": 7 * step, "answer": forward}
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(made.state_dict()[name], value) for name, value in before.items())
    both = multiply_adds(learned(ER, memory=50), batch)
    images = 7 + 4  # as many of the past as of the batch, of which there are four
    heads = 3 * 5 * 3  # in one pass of both, each image is asked of the heads of both tasks
    assert both["training_step"] == images * (step + heads)
    apart = multiply_adds(learned(ER, memory=50, joint_batch=False), batch)
    assert apart["training_step"] == images * step
    assert multiply_adds(learned(AGEM), batch)["training_step"] == (7 + 3) * step


def test_a_method_with_phases_is_counted_while_it_trains(tmp_path: Path) -> None:
    options = ["data=digits", "tasks=2", "epochs=1", "logger=none", "trainer=cpu", "strategy=den"]
    assert execute(tmp_path, *options, "heads=multi", "costs=true", "data.fraction=0.3") == 0
    assert results_of(tmp_path)["multiply_adds"]["training_step"] > 0


def test_images_are_not_copied_to_count() -> None:
    made, batch = learned(ER, memory=6), toy_visit(1).train[torch.arange(4)]
    images = list(made.memory._images.values())
    read = []

    def spy(self: Images, memo: object) -> Images:
        read.append(self)
        return self

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Images, "__deepcopy__", spy, raising=False)
        multiply_adds(made, batch, images)
    assert not any(one is image for one in read for image in images)


def test_a_run_on_the_cpu_has_no_memory_of_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where an earlier run of the process was on one."""
    for name, value in (("is_available", True), ("is_initialized", True)):
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: 7)
    assert "gpu" not in peak_memory(torch.device("cpu"))
    assert peak_memory(torch.device("cuda", 0))["gpu"] == 7


def test_costs_in_results_and_tables(tmp_path: Path) -> None:
    options = ["data=digits", "tasks=2", "epochs=1", "logger=none", "trainer=cpu", "strategy=er"]
    options += ["heads=multi", "strategy.memory=10"]
    assert execute(tmp_path / "plain" / "run", *options) == 0
    assert execute(tmp_path / "more" / "run", *options, "costs=true") == 0
    plain, more = (results_of(tmp_path / name / "run") for name in ("plain", "more"))
    assert plain["multiply_adds"] == {}
    assert more["multiply_adds"]["training_step"] > more["multiply_adds"]["answer"] > 0
    assert plain["accuracy"] == more["accuracy"]
    assert plain["bytes_after_visit"][-1]["memory"] == 10 * 64
    [grid] = grids(grouped(read([tmp_path / "more"])[0]))
    row = dict(zip(grid.heads, grid.rows[0], strict=True))
    total = more["bytes_after_visit"][-1]["total"]
    assert row["MB kept"] == f"{total / 1e6:.2f}"
    step = more["multiply_adds"]["training_step"]
    assert row["multiply-adds of a step, 10^6"] == f"{step / 1e6:,.2f}"
