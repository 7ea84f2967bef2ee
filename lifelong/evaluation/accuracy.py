"""Accuracy per task, counted exactly whatever the sizes of the batches."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric


class TaskAccuracy(Metric):
    """Right answers and images of each task.

    Args:
        tasks: number of tasks.
    """

    full_state_update = False
    right: Tensor
    total: Tensor

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.add_state("right", torch.zeros(tasks, dtype=torch.long), dist_reduce_fx="sum")
        self.add_state("total", torch.zeros(tasks, dtype=torch.long), dist_reduce_fx="sum")

    def update(self, right: Tensor, t: Tensor) -> None:
        """Counts answers `right` (b,) bool to images of the tasks `t` (b,)."""
        t = t.to(right.device)
        self.right.index_add_(0, t, right.long())
        self.total.index_add_(0, t, torch.ones_like(t))

    def compute(self) -> Tensor:
        """Accuracy of each task (t,), in [0, 1]; NaN for a task without images."""
        return self.right / self.total

    def mean(self) -> Tensor:
        """Share of right answers over all images, in [0, 1]."""
        return self.right.sum() / self.total.sum()
