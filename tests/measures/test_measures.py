"""Predictions and measures, against PyTorch and by hand."""

from __future__ import annotations

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

CLASSES = torch.tensor([4, 7, 9])


def predicted(n: int = 60) -> tuple[Prediction, torch.Tensor]:
    scores = 2 * torch.randn(n, 3, generator=torch.Generator().manual_seed(1))
    return Prediction(scores, CLASSES.expand(n, 3)), CLASSES[torch.arange(n) % 3]


def in_parts(measure: Measure, prediction: Prediction, target: torch.Tensor) -> Measure:
    """Takes the images in in uneven batches."""
    for rows in torch.arange(len(target)).split(25):
        measure.update(prediction.of(rows), target[rows])
    return measure


def test_the_answer_and_its_probability() -> None:
    prediction, target = predicted()
    assert torch.equal(prediction.answer(), CLASSES[prediction.scores.argmax(1)])
    column = torch.searchsorted(CLASSES, target)
    expected = prediction.scores.log_softmax(1).gather(1, column[:, None])[:, 0]
    torch.testing.assert_close(prediction.log_probability(target), expected)
    torch.testing.assert_close(prediction.confidence(), prediction.scores.softmax(1).amax(1))


def test_a_class_under_several_heads() -> None:
    """The highest column answers; probabilities add up."""
    scores = [torch.tensor([[0.0, 1.0]]), torch.tensor([[2.0, 0.5]])]
    prediction = Prediction.among(scores, [(3, 5), (5, 3)], once=False)
    assert prediction.answer().tolist() == [5]
    every = torch.tensor([0.0, 1.0, 2.0, 0.5]).softmax(0)
    assert float(prediction.log_probability(torch.tensor([5])).exp()) == pytest.approx(
        float(every[1] + every[2])
    )
    once = Prediction.among(scores, [(3, 5), (5, 3)], once=True)  # one column for a class
    assert once.scores.tolist() == [[0.0, 1.0]]


def test_columns_that_are_no_answer() -> None:
    scores = torch.tensor([[1.0, -torch.inf]])
    prediction = Prediction(scores, torch.tensor([[2, -1]]))
    assert prediction.answer().tolist() == [2]
    assert float(prediction.confidence()) == 1
    assert prediction.log_probability(torch.tensor([6])).tolist() == [-torch.inf]


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
