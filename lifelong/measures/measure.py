"""What is asked of a network's answers, beside how many are right."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics.classification import BinaryCalibrationError

from lifelong.measures.prediction import Prediction

Value = float | dict[str, Any]


class Measure:
    """A number, or a table, for the test images of a task: made anew for each, asked at the end.

    A subclass overrides `update` and `compute`; `conf/measure` has one member for each. A number
    becomes a matrix of visits and tasks in results.json, and its mean over the tasks at the end
    `final_<name>`; a table is kept of the latest visit.

    >>> import torch
    >>> class Sure(Measure):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.sums = []
    ...     def update(self, prediction, target):
    ...         self.sums.append(prediction.scores.softmax(1).amax(1).mean())
    ...     def compute(self):
    ...         return float(torch.stack(self.sums).mean())
    >>> from lifelong import Prediction
    >>> scores = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    >>> answers = Prediction(scores, torch.tensor([4, 7]).expand(3, 2))
    >>> target = torch.tensor([4, 7, 4])
    >>> measure = Sure()
    >>> measure.update(answers, target)
    >>> round(measure.compute(), 3)
    0.855
    """

    def update(self, prediction: Prediction, target: Tensor) -> None:
        """Takes in the answers to a batch.

        Args:
            prediction: scores and class numbers of their columns, both (b, k).
            target: class numbers of the images, (b,).
        """
        raise NotImplementedError

    def compute(self) -> Value:
        """The value over all images taken in."""
        raise NotImplementedError


class Accuracy(Measure):
    """Right answers, counted: `right` of `total`. Every run has it.

    >>> import torch
    >>> from lifelong import Prediction
    >>> scores = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    >>> answers = Prediction(scores, torch.tensor([4, 7]).expand(3, 2))
    >>> target = torch.tensor([4, 7, 4])
    >>> measure = Accuracy()
    >>> measure.update(answers, target)
    >>> round(measure.compute(), 3)
    0.667
    """

    def __init__(self) -> None:
        self.right: Tensor | int = 0  # on the device of the answers: asked for once, at the end
        self.total = 0

    def update(self, prediction: Prediction, target: Tensor) -> None:
        self.right = (prediction.answer() == target).sum() + self.right
        self.total += len(target)

    def compute(self) -> float:
        return int(self.right) / self.total


class Loss(Measure):
    """Cross-entropy: mean of - log probability of the image's class, in nats.

    >>> import torch
    >>> from lifelong import Prediction
    >>> scores = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    >>> answers = Prediction(scores, torch.tensor([4, 7]).expand(3, 2))
    >>> target = torch.tensor([4, 7, 4])
    >>> measure = Loss()
    >>> measure.update(answers, target)
    >>> round(measure.compute(), 3)
    1.163
    """

    def __init__(self) -> None:
        self.sum: Tensor | float = 0.0
        self.total = 0

    def update(self, prediction: Prediction, target: Tensor) -> None:
        self.sum = self.sum - prediction.log_probability(target).double().sum()
        self.total += len(target)

    def compute(self) -> float:
        return float(self.sum) / self.total


class CalibrationError(Measure):
    """Expected calibration error of the class answered (Guo et al., ICML 2017, eq. 3).

    Args:
        bins: equal intervals of the confidence.
        norm: `l1` expected, `l2` root mean square, `max` largest gap between accuracy and
            confidence.

    >>> import torch
    >>> from lifelong import Prediction
    >>> scores = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    >>> answers = Prediction(scores, torch.tensor([4, 7]).expand(3, 2))
    >>> target = torch.tensor([4, 7, 4])
    >>> measure = CalibrationError()
    >>> measure.update(answers, target)
    >>> round(measure.compute(), 3)
    0.447
    """

    def __init__(self, bins: int = 15, norm: Literal["l1", "l2", "max"] = "l1") -> None:
        if bins < 1 or norm not in ("l1", "l2", "max"):
            raise ValueError(
                f"measure.calibration.bins={bins} and norm={norm}: give 1 bin or more, and l1, l2 "
                "or max"
            )
        self.error = BinaryCalibrationError(n_bins=bins, norm=norm)
        self.undefined = False  # whether an answer had no confidence, of scores that are no numbers

    def update(self, prediction: Prediction, target: Tensor) -> None:
        right = (prediction.answer() == target).long()
        most = 1 - 2.0**-24  # the largest below 1, which torchmetrics has a bin of its own for
        confidence = prediction.confidence().float().cpu()
        self.undefined |= bool(confidence.isnan().any())
        self.error.update(confidence.clamp(0, most), right.cpu())

    def compute(self) -> float:
        return math.nan if self.undefined else float(self.error.compute())


class Confusion(Measure):
    """How many images of each class (by its number) were answered with each class.

    >>> import torch
    >>> from lifelong import Prediction
    >>> scores = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    >>> answers = Prediction(scores, torch.tensor([4, 7]).expand(3, 2))
    >>> target = torch.tensor([4, 7, 4])
    >>> measure = Confusion()
    >>> measure.update(answers, target)
    >>> measure.compute()
    {'4': {'4': 1, '7': 1}, '7': {'7': 1}}
    """

    def __init__(self) -> None:
        self.pairs: list[Tensor] = []

    def update(self, prediction: Prediction, target: Tensor) -> None:
        self.pairs.append(torch.stack([target, prediction.answer()], 1))  # (b, 2)

    def compute(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        pairs, counts = torch.cat(self.pairs).unique(dim=0, return_counts=True)
        for (target, answer), count in zip(pairs.tolist(), counts.tolist(), strict=True):
            found.setdefault(str(target), {})[str(answer)] = count
        return found


class AccuracyOfClasses(Confusion):
    """Share of right answers for each class, by its number.

    >>> import torch
    >>> from lifelong import Prediction
    >>> scores = torch.tensor([[2.0, 0.0], [0.0, 1.0], [0.0, 3.0]])
    >>> answers = Prediction(scores, torch.tensor([4, 7]).expand(3, 2))
    >>> target = torch.tensor([4, 7, 4])
    >>> measure = AccuracyOfClasses()
    >>> measure.update(answers, target)
    >>> measure.compute()
    {'4': 0.5, '7': 1.0}
    """

    def compute(self) -> dict[str, float]:  # type: ignore[override]
        rows = super().compute()
        return {name: row.get(name, 0) / sum(row.values()) for name, row in rows.items()}
