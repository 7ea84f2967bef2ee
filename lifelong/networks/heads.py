"""Heads: from features to the classes of a task.

What a stream asks for follows from the classes of its tasks: where each has its own, `MultiHead`
and `OutputMatrix` are for answers with the task given (task-incremental), `IncrementalHead` for
answers without it (class-incremental); where all have the same, `SingleHead` (domain-incremental).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.backbones import LinearLayer
from lifelong.backbones.backbone import Init, initialize
from lifelong.backbones.containers import ByName


class Head(nn.Sequential):
    """Dropout, hidden layers with ReLU, a linear output."""

    def __init__(
        self, features: int, classes: int, hidden: Sequence[int], dropout: float, init: Init
    ) -> None:
        widths = [features, *hidden]
        body = [LinearLayer(a, b, init=init) for a, b in zip(widths, hidden, strict=False)]
        output = nn.Linear(widths[-1], classes)
        if init != "uniform":  # as it is drawn already
            initialize(output.weight, output.bias, init)
        super().__init__(nn.Dropout(dropout), *body, output)
        self.classes = classes

    @property
    def output(self) -> nn.Linear:
        """The last layer."""
        return cast(nn.Linear, self[-1])


class Heads(nn.Module):
    """One head or several: `heads(features, task)`.

    Args:
        features: length of the body's output.
        hidden: widths of the hidden layers of a head.
        dropout: probability of dropping a feature.
        init: how the weights are drawn, see `lifelong.backbones.backbone.initialize`.

    Attributes:
        disjoint_outputs: whether the logits of different tasks stand for different classes.
        shared_outputs: whether the same weights answer for all tasks, as those of the backbone do;
            a class then has one column, whatever the task.
    """

    disjoint_outputs = True
    shared_outputs = False

    def __init__(
        self,
        features: int,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        init: Init = "truncated_normal",
    ) -> None:
        super().__init__()
        self.init: Init = init
        if not 0 <= dropout < 1:
            raise ValueError(f"heads.dropout={dropout}: give a probability from 0 to below 1")
        self.features, self.hidden, self.dropout = features, tuple(hidden), dropout
        self.all: ByName[Head] = ByName()

    def add_task(self, task: int, classes: Sequence[int]) -> None:
        """Makes what a task of these class numbers needs; nothing for a task that has it."""
        raise NotImplementedError

    def head_for(self, task: int) -> nn.Module:
        """The module whose parameters serve `task`."""
        raise NotImplementedError

    def own_parameters(self, task: int) -> list[nn.Parameter]:
        """Parameters that get a gradient from images of `task` alone."""
        return []

    def _make(self, key: str, classes: int) -> None:
        if key not in self.all:
            self.all[key] = Head(self.features, classes, self.hidden, self.dropout, self.init)

    def forward(self, features: Tensor, task: int) -> Tensor:  # (b, f) -> (b, k)
        """Scores that a task is trained on; those of its own classes come first."""
        logits: Tensor = self.head_for(task)(features)
        return logits

    def of_tasks(self, features: Tensor, t: Tensor) -> Tensor:  # (b, f) -> (b, k)
        """Scores of rows that belong to the tasks `t`, see `by_task`."""
        return by_task(self, features, t)

    def task_scores(self, features: Tensor, tasks: Sequence[int]) -> list[Tensor]:
        """Scores of the own classes of each of several tasks, (b, k) each."""
        return [self(features, task) for task in tasks]

    def softmax_groups(self, features: Tensor, tasks: Sequence[int]) -> list[Tensor]:
        """Scores of the classes of several tasks, one tensor for each softmax that training has."""
        return [self(features, task) for task in tasks]


def by_task(score: Callable[[Tensor, int], Tensor], x: Tensor, t: Tensor) -> Tensor:
    """Joins the scores of a batch whose rows belong to several tasks.

    Args:
        score: of some rows and their task, (n, k).
        x: (b, ...).
        t: tasks of the rows (b,), on the CPU.

    Returns:
        (b, k), -inf beyond a task's scores where these are unequally many.
    """
    if len(met := set(t.tolist())) == 1:
        return score(x, met.pop())
    ordered, order = t.sort(stable=True)
    tasks, counts = ordered.unique_consecutive(return_counts=True)
    order = order.to(x.device)
    groups = x[order].split(counts.tolist())  # taken out once, put back once, for all tasks
    parts = [score(part, task) for part, task in zip(groups, tasks.tolist(), strict=True)]
    width = max(part.shape[1] for part in parts)
    whole = [
        part if part.shape[1] == width
        else F.pad(part, (0, width - part.shape[1]), value=-torch.inf)
        for part in parts
    ]  # fmt: skip
    return torch.cat(whole)[order.argsort()]


class MultiHead(Heads):
    """A head for every task: the task is known when the network is asked.

    >>> import torch
    >>> heads = MultiHead(16)
    >>> heads.add_task(0, [0, 1])
    >>> heads.add_task(1, [2, 3, 4])
    >>> heads(torch.zeros(2, 16), 1).shape
    torch.Size([2, 3])
    """

    def add_task(self, task: int, classes: Sequence[int]) -> None:
        self._make(str(task), len(classes))

    def head_for(self, task: int) -> Head:
        return self.all[str(task)]

    def own_parameters(self, task: int) -> list[nn.Parameter]:
        return list(self.all[str(task)].parameters())

    def of_tasks(self, features: Tensor, t: Tensor) -> Tensor:  # (b, f) -> (b, k)
        """See `Heads.of_tasks`; the heads of mixed rows are asked as one linear layer."""
        rows = t.tolist()
        tasks = sorted(set(rows))
        if len(tasks) == 1 or self.hidden:
            return super().of_tasks(features, t)
        scores, counts = self._together(features, tasks)
        ends = dict(zip(tasks, accumulate(counts), strict=True))
        starts = dict(zip(tasks, [0, *ends.values()], strict=False))
        columns = torch.tensor([starts[task] for task in rows])[:, None] + torch.arange(max(counts))
        if min(counts) == max(counts):
            return scores.gather(1, columns.to(scores.device))
        beyond = columns >= torch.tensor([ends[task] for task in rows])[:, None]  # (b, k)
        found = scores.gather(1, columns.clamp(max=sum(counts) - 1).to(scores.device))
        return found.masked_fill(beyond.to(found.device), -torch.inf)

    def task_scores(self, features: Tensor, tasks: Sequence[int]) -> list[Tensor]:
        if self.hidden or not tasks:
            return super().task_scores(features, tasks)
        scores, counts = self._together(features, tasks)
        return list(scores.split(counts, 1))

    def _together(self, features: Tensor, tasks: Sequence[int]) -> tuple[Tensor, list[int]]:
        """Scores (b, classes of all tasks) of heads without hidden layers; classes of each."""
        outputs = [self.head_for(task).output for task in tasks]
        weight, bias = (
            torch.cat([getattr(each, n) for each in outputs]) for n in ("weight", "bias")
        )
        dropped = F.dropout(features, self.dropout, self.training)
        return F.linear(dropped, weight, bias), [each.out_features for each in outputs]


class SingleHead(Heads):
    """One head for all tasks, which must have equally many classes.

    Raises:
        ValueError: a task with another number of classes.

    >>> heads = SingleHead(16)
    >>> for task in range(2):
    ...     heads.add_task(task, [0, 1])
    >>> heads.head_for(0) is heads.head_for(1)
    True
    """

    disjoint_outputs = False
    shared_outputs = True

    def add_task(self, task: int, classes: Sequence[int]) -> None:
        self._make("shared", len(classes))
        if self.head_for(task).classes != len(classes):
            raise ValueError(
                f"heads=single: task {task + 1} has {len(classes)} classes and the head "
                f"{self.head_for(task).classes}; use heads=multi"
            )

    def task_scores(self, features: Tensor, tasks: Sequence[int]) -> list[Tensor]:
        return self.softmax_groups(features, tasks) * len(tasks)  # one head, asked once

    def softmax_groups(self, features: Tensor, tasks: Sequence[int]) -> list[Tensor]:
        return [self(features, tasks[0])] if tasks else []

    def head_for(self, task: int) -> Head:
        return self.all["shared"]


class OutputMatrix(Heads):
    """One linear layer for the classes of all tasks, of which a task sees its own columns.

    The usual "multi-head by masking": the other columns get a gradient of zero, not none. Columns
    are given to the tasks in the order in which they come.

    Args:
        outputs: columns for all tasks together.

    Raises:
        ValueError: tasks with more classes than there are columns.

    >>> heads = OutputMatrix(16, outputs=10)
    >>> heads.add_task(0, [0, 1])
    >>> heads.add_task(1, [2, 3, 4])
    >>> heads.columns[1]
    slice(2, 5, None)
    """

    def __init__(
        self,
        features: int,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        outputs: int = 100,
        init: Init = "uniform",
    ) -> None:
        super().__init__(features, hidden, dropout, init)
        whole = Head(features, outputs, hidden, dropout, init)
        self.below = nn.Sequential(*list(whole)[:-1])
        self.output = whole.output
        self.columns: dict[int, slice] = {}

    def add_task(self, task: int, classes: Sequence[int]) -> None:
        if task in self.columns:
            return
        first = max((columns.stop for columns in self.columns.values()), default=0)
        last, outputs = first + len(classes), self.output.out_features
        if last > outputs:
            raise ValueError(
                f"heads.outputs={outputs}: the tasks up to number {task + 1} have {last} classes; "
                "give as many with heads=matrix heads.outputs=..., or heads=multi "
                "multi_head=lifelong.networks.MultiHead"
            )
        self.columns[task] = slice(first, last)

    def head_for(self, task: int) -> nn.Module:
        return self

    def forward(self, features: Tensor, task: int) -> Tensor:  # (b, f) -> (b, k)
        columns, output = self.columns[task], self.output
        return F.linear(self.below(features), output.weight[columns], output.bias[columns])


class IncrementalHead(Heads):
    """One linear layer with a column for every class met; all of them compete in training.

    The classes that come with a task get columns beside the earlier ones.

    Args:
        outputs: columns from the start, so that those of classes to come compete, too (Hsu et al.,
            2018; Mammoth); null: columns come with their classes (van de Ven, Tolias, 2019).

    Raises:
        ValueError: more classes than `outputs`.

    >>> import torch
    >>> heads = IncrementalHead(16)
    >>> heads.add_task(0, [0, 1])
    >>> heads.add_task(1, [2, 3])
    >>> heads(torch.zeros(2, 16), 1).shape  # the classes of all seen tasks compete
    torch.Size([2, 4])
    """

    shared_outputs = True

    def __init__(
        self,
        features: int,
        hidden: Sequence[int] = (),
        dropout: float = 0.0,
        outputs: int | None = None,
        init: Init = "truncated_normal",
    ) -> None:
        super().__init__(features, hidden, dropout, init)
        self.below = nn.Sequential(*list(Head(features, 1, hidden, dropout, init))[:-1])
        self.numbers: list[int] = []  # class number of each column
        self.columns: dict[int, list[int]] = {}  # of each task
        self._orders: dict[int, slice | list[int]] = {}  # of columns, as each task has them
        self.outputs = outputs
        if outputs is not None and outputs < 1:
            raise ValueError(f"heads.outputs={outputs}: give a number of classes, or null")
        if outputs is not None:
            self._add("outputs", outputs)

    def _add(self, key: str, classes: int) -> None:
        width = self.hidden[-1] if self.hidden else self.features
        self.all[key] = Head(width, classes, (), 0.0, self.init)[-1]

    def add_task(self, task: int, classes: Sequence[int]) -> None:
        if task in self.columns:
            return
        new = [number for number in classes if number not in self.numbers]
        self.numbers += new
        if self.outputs is None and new:
            self._add(str(task), len(new))
        elif self.outputs is not None and len(self.numbers) > self.outputs:
            raise ValueError(
                f"heads.outputs={self.outputs}: the tasks up to number {task + 1} have "
                f"{len(self.numbers)} classes; give as many, or null"
            )
        self.columns[task] = [self.numbers.index(number) for number in classes]
        self._orders.clear()

    def head_for(self, task: int) -> nn.Module:
        return self

    def scores(self, features: Tensor) -> Tensor:  # (b, f) -> (b, columns)
        """Scores of all classes met, in the order in which they came; then of those to come."""
        below = self.below(features)
        return torch.cat([output(below) for output in self.all.values()], 1)

    def forward(self, features: Tensor, task: int) -> Tensor:  # (b, f) -> (b, columns)
        return self.scores(features)[:, self._order(task)]

    def _order(self, task: int) -> slice | list[int]:
        """All columns, those of the task first; put together once."""
        if task not in self._orders:
            own = self.columns[task]
            others = set(range(self.outputs or len(self.numbers))) - set(own)
            self._orders[task] = _places(own + sorted(others))
        return self._orders[task]

    def task_scores(self, features: Tensor, tasks: Sequence[int]) -> list[Tensor]:
        scores = self.scores(features)
        return [scores[:, _places(self.columns[task])] for task in tasks]

    def softmax_groups(self, features: Tensor, tasks: Sequence[int]) -> list[Tensor]:
        columns = sorted({column for task in tasks for column in self.columns[task]})
        return [self.scores(features)[:, _places(columns)]] if columns else []


def _places(columns: list[int]) -> slice | list[int]:
    """As a slice, which costs nothing, where they follow each other."""
    first = columns[0]
    follow = columns == list(range(first, first + len(columns)))
    return slice(first, first + len(columns)) if follow else columns
