"""Measures of predictions, against PyTorch and by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lifelong.measures import (
    AccuracyOfClasses,
    CalibrationError,
    Confusion,
    Loss,
    Measure,
    Prediction,
    Tally,
)
from tests.measures.predicted import CLASSES, in_parts, predicted


def test_loss() -> None:
    prediction, target = predicted()
    column = torch.searchsorted(CLASSES, target)
    expected = float(F.cross_entropy(prediction.scores, column))
    assert in_parts(Loss(), prediction, target).compute() == pytest.approx(expected)


def test_calibration_error() -> None:
    """Sum over bins of the share of images in it times |accuracy - confidence|."""
    prediction, target = predicted(500)
    confidence, answer = prediction.scores.softmax(1).max(1)
    right = (CLASSES[answer] == target).double()
    expected = 0.0
    for number in range(10):
        inside = (confidence > number / 10) & (confidence <= (number + 1) / 10)
        if inside.any():
            gap = right[inside].mean() - confidence[inside].double().mean()
            expected += float(inside.double().mean() * gap.abs())
    found = in_parts(CalibrationError(bins=10), prediction, target).compute()
    assert found == pytest.approx(expected, abs=1e-6)
    with pytest.raises(ValueError, match=r"measure\.calibration\.bins=0"):
        CalibrationError(bins=0)


@pytest.mark.parametrize("bins", [1, 15])
def test_certain_answers_are_in_the_last_bin(bins: int) -> None:
    """500 of confidence 1, 450 of them right, and 500 of .99, all right."""
    gap = torch.tensor([200.0] * 500 + [math.log(0.99 / 0.01)] * 500)
    prediction = Prediction(torch.stack([gap, torch.zeros(1000)], 1), CLASSES[:2].expand(1000, 2))
    target = torch.full((1000,), int(CLASSES[0]))
    target[:50] = CLASSES[1]
    found = in_parts(CalibrationError(bins=bins), prediction, target).compute()
    assert found == pytest.approx(0.995 - 0.95, abs=1e-5)


def test_a_value_that_is_no_number_is_none() -> None:
    class Undefined(Measure):
        def update(self, prediction: Prediction, target: torch.Tensor) -> None:
            pass

        def compute(self) -> Any:
            return {"a": math.inf, "b": 1.0} if table else math.nan

    for table in (False, True):
        tally = Tally({"own": Undefined})
        tally.update(*predicted(4), torch.zeros(4).long())
        wanted = {"a": None, "b": 1.0} if table else None
        assert tally.values() == {"own": {0: wanted}}


def test_confusion_and_accuracy_of_classes() -> None:
    scores = torch.eye(3)[[0, 0, 1, 2, 1]]
    prediction = Prediction(scores, CLASSES.expand(5, 3))
    target = torch.tensor([4, 7, 7, 9, 9])
    assert in_parts(Confusion(), prediction, target).compute() == {
        "4": {"4": 1}, "7": {"4": 1, "7": 1}, "9": {"7": 1, "9": 1}
    }  # fmt: skip
    assert in_parts(AccuracyOfClasses(), prediction, target).compute() == {
        "4": 1.0, "7": 0.5, "9": 0.5
    }  # fmt: skip
