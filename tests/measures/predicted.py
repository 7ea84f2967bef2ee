"""Predictions of three classes, and measures that take them in."""

from __future__ import annotations

import torch

from lifelong.measures import Measure, Prediction, Tally

CLASSES = torch.tensor([4, 7, 9])


def predicted(n: int = 60) -> tuple[Prediction, torch.Tensor]:
    scores = 2 * torch.randn(n, 3, generator=torch.Generator().manual_seed(1))
    return Prediction(scores, CLASSES.expand(n, 3)), CLASSES[torch.arange(n) % 3]


def in_parts(measure: Measure, prediction: Prediction, target: torch.Tensor) -> Measure:
    """Takes the images in in uneven batches."""
    for rows in torch.arange(len(target)).split(25):
        measure.update(prediction.of(rows), target[rows])
    return measure


def answered(made: Tally, right: torch.Tensor, t: torch.Tensor) -> None:
    scores = torch.stack([1.0 - right.float(), right.float()], 1)
    classes = torch.tensor([0, 1]).expand(len(t), 2)
    made.update(Prediction(scores, classes), torch.ones(len(t)).long(), t)
