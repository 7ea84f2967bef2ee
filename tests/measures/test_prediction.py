"""Predictions, against PyTorch and by hand."""

from __future__ import annotations

import pytest
import torch

from lifelong.measures import Prediction
from tests.measures.predicted import CLASSES, predicted


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
