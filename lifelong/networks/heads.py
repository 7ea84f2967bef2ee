"""Heads: from features to the classes of a task."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.backbones import LinearLayer
from lifelong.backbones.backbone import Initial, draw


class Head(nn.Sequential):
    """Dropout, hidden layers with ReLU, a linear output."""

    def __init__(
        self, features: int, classes: int, hidden: Sequence[int], dropout: float, initial: Initial
    ) -> None:
        widths = [features, *hidden]
        body = [LinearLayer(a, b, initial=initial) for a, b in zip(widths, hidden, strict=False)]
        output = nn.Linear(widths[-1], classes)
        if initial != "uniform":  # as it is drawn already
            draw(output.weight, output.bias, initial)
        super().__init__(nn.Dropout(dropout), *body, output)
        self.classes = classes


class Heads(nn.Module):
    """One head or several: `heads(features, task)`.

    Args:
        features: length of the body's output.
        hidden: widths of the hidden layers of a head.
        dropout: probability of dropping a feature.
        initial: how the weights are drawn, see `lifelong.backbones.backbone.draw`.

    Attributes:
        distinguishes: whether the logits of different tasks stand for different classes.
    """

    distinguishes = True

    def __init__(
        self,
        features: int,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        initial: Initial = "truncated_normal",
    ) -> None:
        super().__init__()
        self.initial: Initial = initial
        if not 0 <= dropout < 1:
            raise ValueError(f"heads.dropout={dropout}: give a probability from 0 to below 1")
        self.features, self.hidden, self.dropout = features, tuple(hidden), dropout
        self.all = nn.ModuleDict()

    def add_task(self, task: int, classes: int) -> None:
        """Makes the head of a new task; nothing for a task that has one."""
        raise NotImplementedError

    def of(self, task: int) -> nn.Module:
        """The module whose parameters serve `task`."""
        raise NotImplementedError

    def _make(self, key: str, classes: int) -> None:
        if key not in self.all:
            self.all[key] = Head(self.features, classes, self.hidden, self.dropout, self.initial)

    def forward(self, features: Tensor, task: int) -> Tensor:  # (b, f) -> (b, k)
        logits: Tensor = self.of(task)(features)
        return logits


class MultiHead(Heads):
    """A head for every task: the task is known when the network is asked."""

    def add_task(self, task: int, classes: int) -> None:
        self._make(str(task), classes)

    def of(self, task: int) -> Head:
        head = self.all[str(task)]
        assert isinstance(head, Head)
        return head


class SingleHead(Heads):
    """One head for all tasks, which must have equally many classes.

    Raises:
        ValueError: a task with another number of classes.
    """

    distinguishes = False

    def add_task(self, task: int, classes: int) -> None:
        self._make("shared", classes)
        if self.of(task).classes != classes:
            raise ValueError(
                f"heads=single: task {task} has {classes} classes and the head "
                f"{self.of(task).classes}; use heads=multi"
            )

    def of(self, task: int) -> Head:
        head = self.all["shared"]
        assert isinstance(head, Head)
        return head


class OutputMatrix(Heads):
    """One linear layer for the classes of all tasks, of which a task sees its own columns.

    The usual "multi-head by masking": the other columns get a gradient of zero, not none. Columns
    are given to the tasks in the order in which they come.

    Args:
        outputs: columns for all tasks together.

    Raises:
        ValueError: tasks with more classes than there are columns.
    """

    def __init__(
        self,
        features: int,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        outputs: int = 100,
        initial: Initial = "uniform",
    ) -> None:
        super().__init__(features, hidden, dropout, initial)
        whole = Head(features, outputs, hidden, dropout, initial)
        self.below = nn.Sequential(*list(whole)[:-1])
        self.output: nn.Linear = whole[-1]  # type: ignore[assignment]
        self.columns: dict[int, slice] = {}

    def add_task(self, task: int, classes: int) -> None:
        if task in self.columns:
            return
        first = max((columns.stop for columns in self.columns.values()), default=0)
        outputs = self.output.out_features
        if first + classes > outputs:
            raise ValueError(
                f"heads.outputs={outputs}: the tasks up to number {task} have "
                f"{first + classes} classes; give as many with heads=matrix heads.outputs=..., or "
                "heads=multi multi_head=lifelong.networks.MultiHead"
            )
        self.columns[task] = slice(first, first + classes)

    def of(self, task: int) -> nn.Module:
        return self

    def forward(self, features: Tensor, task: int) -> Tensor:  # (b, f) -> (b, k)
        columns, output = self.columns[task], self.output
        return F.linear(self.below(features), output.weight[columns], output.bias[columns])
