"""Reservoir and rings (TAG spec, check 9.11)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lifelong.data import Batch, Task
from lifelong.parts.memory import Reservoir, Rings
from tests.conftest import images


def numbered(first: int, count: int, task: int = 0) -> Batch:
    """Images whose pixels are their number in the stream."""
    numbers = torch.arange(first, first + count)
    x = numbers.float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return Batch(x, numbers % 3, torch.full((count,), task))


def task(index: int = 0) -> Task:
    parts = [images(6, (1, 2, 2), task=index) for _ in range(3)]
    return Task(index, index, False, "", (0, 1, 2), *parts)


def reservoir(size: int, **options: Any) -> Reservoir:
    made = Reservoir(size, **options)
    made.begin_task(task())
    return made


def contents(made: Reservoir) -> list[int]:
    return [int(value) for value in made.x[: len(made), 0, 0, 0]]


@pytest.mark.parametrize("batchwise", [False, True])
def test_the_first_images_fill_it_in_order(batchwise: bool) -> None:
    made = reservoir(10, batchwise=batchwise)
    for first in range(0, 9, 3):
        made.offer(numbered(first, 3))
    assert contents(made) == list(range(9))
    made.offer(numbered(9, 3))
    assert len(made) == 10
    assert contents(made)[9] == 9 or made.seen == 12  # the tenth may be replaced already
    for first in range(12, 600, 3):
        made.offer(numbered(first, 3, task=1))
        assert len(made) == 10
    for value, label, index in zip(contents(made), made.y.tolist(), made.tasks, strict=True):
        assert label == value % 3
        assert index == (value >= 12)


@pytest.mark.parametrize(
    ("size", "batch", "batchwise", "expected"),
    [
        (40, 10, False, [1, 1, 1, 1, 1]),
        (50, 64, False, [1, 1, 1, 1, 1]),
        (40, 4, True, [1, 1, 1, 1, 1]),
        (50, 64, True, [0.87, 1.02, 1.04, 1.04, 1.03]),
    ],
)
def test_inclusion_frequencies(
    size: int, batch: int, batchwise: bool, expected: list[float]
) -> None:
    """Over fifths of a stream of 1000, as shares of size / n."""
    kept = torch.zeros(1000)
    trials = 400
    for _ in range(trials):
        made = reservoir(size, batchwise=batchwise)
        for first in range(0, 1000, batch):
            made.offer(numbered(first, min(batch, 1000 - first)))
        kept[contents(made)] += 1
    shares = kept.view(5, 200).mean(1) / trials / (size / 1000)
    assert shares.tolist() == pytest.approx(expected, abs=0.05)


def test_draws_are_distinct_and_leave_a_task_out() -> None:
    made = reservoir(20)
    made.offer(numbered(0, 8, task=0))
    made.offer(numbered(8, 8, task=1))
    drawn = made.draw(10)
    assert drawn is not None
    assert len(set(drawn.x[:, 0, 0, 0].tolist())) == 10
    old = made.draw(10, without=1)
    assert old is not None
    assert sorted(old.x[:, 0, 0, 0].tolist()) == list(range(8))
    assert old.t.tolist() == [0] * 8
    assert reservoir(5).draw(3) is None


def test_rings_keep_the_latest_of_each_class() -> None:
    made = Rings(2)
    made.begin_task(task(0))
    made.offer(numbered(0, 9))  # 0 3 6, 1 4 7, 2 5 8 by class
    assert made.draw(10, without=0) is None
    drawn = made.draw(10, without=1)
    assert drawn is not None
    assert sorted(drawn.x[:, 0, 0, 0].tolist()) == [3, 4, 5, 6, 7, 8]
    assert drawn.y.tolist() == [int(value) % 3 for value in drawn.x[:, 0, 0, 0]]
    few = made.draw(4, without=1)
    assert few is not None
    assert len(set(few.x[:, 0, 0, 0].tolist())) == 4


@pytest.mark.parametrize("kind", [Reservoir, Rings])
def test_a_saved_memory_goes_on(kind: Any) -> None:
    one, two = kind(4), kind(4)
    for made in (one, two):
        made.begin_task(task(0))
        made.begin_task(task(1))
    one.offer(numbered(0, 9))
    two.load_state_dict(one.state_dict())
    drawn = []
    for made in (one, two):
        torch.manual_seed(1)
        made.offer(numbered(9, 5, task=1))
        drawn.append(made.draw(6, without=1))
    assert torch.equal(drawn[0].x, drawn[1].x)
    assert torch.equal(drawn[0].y, drawn[1].y)


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"strategy\.memory=0"):
        Reservoir(0)
    with pytest.raises(ValueError, match=r"strategy\.per_class=0"):
        Rings(0)
