"""What a network answers to images: scores, and the classes that they are of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

NO_CLASS = -1


class Prediction(NamedTuple):
    """Scores of the classes that may be answered, for each image of a batch.

    A class may have several columns (one under each of several heads): then the highest counts, and
    for probabilities their sum.

    >>> import torch
    >>> scores = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    >>> answers = Prediction(scores, torch.tensor([4, 7]).expand(3, 2))
    >>> answers.of(torch.tensor([2])).classes
    tensor([[4, 7]])
    """

    scores: Tensor  # (b, k) logits; -inf where a column is not among the answers
    classes: Tensor  # (b, k) class number of each column, -1 where there is none

    def answer(self) -> Tensor:
        """Class numbers answered, (b,): those of the highest scores."""
        return self.classes.gather(1, self.scores.argmax(1, keepdim=True))[:, 0]

    def log_probability(self, target: Tensor) -> Tensor:
        """Log-probability of the classes `target` (b,) under a softmax of the scores, (b,)."""
        other = self.classes != target[:, None]
        own = self.scores.masked_fill(other, -torch.inf).logsumexp(1)
        return own - self.scores.logsumexp(1)

    def confidence(self) -> Tensor:
        """Probability of the class answered, (b,)."""
        return self.log_probability(self.answer()).exp()

    def of(self, rows: Tensor) -> Prediction:
        """That of some images, (b,) bool or indices on the device of the scores."""
        return Prediction(self.scores[rows], self.classes[rows])

    @staticmethod
    def among(scores: Sequence[Tensor], classes: Sequence[Sequence[int]], once: bool) -> Prediction:
        """Joins the scores of several tasks.

        Args:
            scores: of each task, (b, k).
            classes: class numbers of its columns.
            once: a class has the same scores in all tasks: only its first column counts.
        """
        numbers = [number for each in classes for number in each]
        joined = torch.cat(
            [part[:, : len(each)] for part, each in zip(scores, classes, strict=True)], 1
        )
        first: dict[int, int] = {}  # column of each class
        for column, number in enumerate(numbers):
            first.setdefault(number, column)
        if once and len(first) < len(numbers):
            joined, numbers = joined[:, list(first.values())], list(first)
        columns = torch.tensor(numbers, device=joined.device).expand(len(joined), -1)
        return Prediction(joined, columns)
