"""Measures of predictions, against PyTorch and by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lifelong.measures import AccuracyOfClasses, CalibrationError, Confusion, Loss, Prediction
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
