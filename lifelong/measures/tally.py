"""The measures of one evaluation, task by task."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lifelong.measures.measure import Accuracy, Measure, Value
from lifelong.measures.prediction import Prediction
from lifelong.storage.files import known

MakeMeasure = Callable[[], Measure]
ACCURACY = "accuracy"


class Tally:
    """Counts right answers per task, exactly whatever the sizes of the batches; and other measures.

    Args:
        measures: makes each measure beside accuracy, by name.
    """

    def __init__(self, measures: Mapping[str, MakeMeasure] | None = None) -> None:
        self.makers: Mapping[str, MakeMeasure] = measures or {}
        self.right: dict[int, Accuracy] = {}  # of each task
        self.of: dict[int, dict[str, Measure]] = {}  # measures of each task

    def update(self, prediction: Prediction, target: Tensor, t: Tensor) -> None:
        """Takes in the answers to images of the tasks `t` (b,), on the CPU.

        Args:
            prediction: see `Prediction`.
            target: class numbers, (b,).
            t: see above.
        """
        tasks = t.unique().tolist()
        for task in tasks:
            if task not in self.of:
                self.right[task] = Accuracy()
                others = {name: make() for name, make in self.makers.items()}
                self.of[task] = {ACCURACY: self.right[task], **others}
            part, own = prediction, target
            if len(tasks) > 1:
                rows = torch.nonzero(t == task)[:, 0].to(target.device)
                part, own = prediction.of(rows), target[rows]
            for measure in self.of[task].values():
                measure.update(part, own)

    def counts(self) -> dict[int, tuple[int, int]]:
        """Right answers and images of each task."""
        return {task: (int(of.right), of.total) for task, of in sorted(self.right.items())}

    def mean(self) -> float:
        """Share of right answers over all images, in [0, 1]."""
        right, total = (
            torch.tensor(each).sum() for each in zip(*self.counts().values(), strict=True)
        )
        return float(right / total)

    def values(self) -> dict[str, dict[int, Value | None]]:
        """Of each measure beside accuracy, by name, the value of each task; None for no number."""
        return {
            name: {
                task: known(of[name].compute(), f"measure.{name}")
                for task, of in sorted(self.of.items())
            }
            for name in self.makers
        }
