"""What is counted of the images of each task."""

from __future__ import annotations

import pytest
import torch

from lifelong.measures import Loss, Tally
from tests.measures.predicted import answered, in_parts, predicted


def test_a_tally_keeps_tasks_apart() -> None:
    prediction, target = predicted()
    t = torch.arange(60) // 20
    made, whole = Tally({"loss": Loss}), Tally()
    made.update(prediction, target, t)
    whole.update(prediction, target, torch.zeros(60).long())
    for task in range(3):
        rows = torch.nonzero(t == task)[:, 0]
        alone = in_parts(Loss(), prediction.of(rows), target[rows])
        assert made.values()["loss"][task] == pytest.approx(alone.compute())
    assert sum(right for right, _ in made.counts().values()) == whole.counts()[0][0]


def test_counts_are_exact_for_uneven_batches() -> None:
    """64 right answers and 8 wrong ones are 0.889, not the mean of two batches."""
    made = Tally()
    answered(made, torch.ones(64, dtype=torch.bool), torch.zeros(64, dtype=torch.long))
    answered(made, torch.zeros(8, dtype=torch.bool), torch.zeros(8, dtype=torch.long))
    assert made.counts() == {0: (64, 72)}
    assert made.mean() == pytest.approx(64 / 72)


def test_batches_of_several_tasks_are_told_apart() -> None:
    made = Tally()
    answered(made, torch.tensor([True, False, True]), torch.tensor([1, 0, 1]))
    assert made.counts() == {0: (0, 1), 1: (2, 2)}
