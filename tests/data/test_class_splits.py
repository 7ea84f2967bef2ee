"""Classes given by hand: what no task can have, and what two tasks can share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lifelong.data import TaskStream, by_class
from lifelong.data.sources import digits
from tests.conftest import execute, results_of

QUICK = ["data=digits", "epochs=1", "batch_size=16", "data.fraction=0.2", "logger=none"]
QUICK += ["trainer=cpu"]
TWICE = "data.classes: task 1 has the class 0 twice; give each class once"
EMPTY = "data.classes: task {} has no class; give it one, or leave it out"


def split(classes: Any) -> TaskStream:
    options: Any = {"name": "digits", "batch_size": 4, "shuffle_seed": 1}
    return by_class(digits(), shape=(1, 8, 8), classes=classes, **options)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([[0, 0], [1, 2]], TWICE),
        ([[0, 3, 0], [1, 2, 4]], TWICE),
        ([["0", 0], [1, 2]], TWICE.replace("the class 0", "the class (0|'0')")),
        ([[1, 2], [5, 4, 5]], "data.classes: task 2 has the class 5 twice"),
        ([[], [1, 2]], EMPTY.format(1)),
        ([[1, 2], []], EMPTY.format(2)),
        ([[0, 1], [2, 10]], "data.classes: 10 is no class of digits"),
        ([[0, 1], [2, "ten"]], "data.classes: ten is no class of digits"),
        ([[0, -1], [2, 3]], "data.classes: -1 is no class of digits"),
    ],
)
def test_tasks_that_cannot_be(classes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split(classes)


def test_labels_follow_the_order_that_is_given() -> None:
    """A class of two tasks brings the same images to both, under the label of each."""
    first, second = split([[3, 8], [5, 3, 1]]).tasks
    assert (first.classes, second.classes) == ((3, 8), (5, 3, 1))
    for part in ("train", "val", "test"):
        one, other = getattr(first, part), getattr(second, part)
        assert one.x[one.y == 0].equal(other.x[other.y == 1])
        assert len(one.y.unique()) == 2
        assert len(other.y.unique()) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("data.classes=[[0,0],[1,2]]", TWICE),
        ("data.classes=[[],[1,2]]", EMPTY.format(1)),
        (
            "heads=single data.classes=[[0,1],[1,2]]",
            "data.classes: class 1 is label 1 of task 1 and label 0 of task 2, and a single head",
        ),
        (
            "heads=single data.classes=[[0,1],[2,1],[1,3]]",
            "data.classes: class 1 is label 1 of task 1 and label 0 of task 3",
        ),
        ("heads=single data.classes=[[0,1],[1,0]] data.standardize=split", "data.classes: class"),
        ("heads=single data.classes=[[0,1],[1,2]] strategy=er", "data.classes: class 1 is label"),
        (
            "strategy=cil data.classes=[[0,1],[1,2]]",
            "data.classes: class 1 belongs to two tasks, and CIL tells the classes of all tasks",
        ),
        ("strategy=cil data.classes=[[0,1],[2,1]]", "data.classes: class 1 belongs to two tasks"),
        (
            "strategy=tickets_td data.classes=[[4,1],[2,3],[1,5]]",
            "data.classes: class 1 belongs to two tasks, and TicketsTD",
        ),
    ],
)
def test_what_is_refused(
    tmp_path: Path, options: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(tmp_path, *QUICK, "strategy=finetune", *options.split()) == 2
    assert f"error: {message}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [
        "heads=multi data.classes=[[0,1],[1,2]]",
        "heads=matrix data.classes=[[0,1],[1,2]]",
        "heads=single data.classes=[[0,1],[2,1]]",  # under the same label
        "heads=single data.classes=[[0,1],[2,3],[1,0]] tasks=2",  # the third is not met
        "strategy=cil data.classes=[[0,1],[2,3]] data.order=[1,2,1]",  # one task twice
    ],
)
def test_what_is_learned(tmp_path: Path, options: str) -> None:
    assert execute(tmp_path, *QUICK, "strategy=finetune", *options.split()) == 0
    assert results_of(tmp_path)["status"] == "finished"
