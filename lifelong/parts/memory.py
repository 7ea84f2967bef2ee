"""Memories of training images: a reservoir over the stream, and rings of the latest of a class."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lifelong.data import Batch, Task


class Reservoir(nn.Module):
    """A uniform sample of the images of the stream, of fixed size (Vitter 1985).

    Args:
        size: images kept.
        batchwise: draw for all images of a batch with the count before it, as TAG's released
            program does, which is uniform only roughly; else image by image, exactly.

    Attributes:
        seen: images offered so far.
        tasks: of the images kept.
    """

    x: Tensor
    y: Tensor

    def __init__(self, size: int, batchwise: bool = False) -> None:
        super().__init__()
        if size < 1:
            raise ValueError(f"strategy.memory={size}: give a number of images, 1 or more")
        self.size, self.batchwise = size, batchwise
        self.register_buffer("y", torch.zeros(size, dtype=torch.long))
        self.seen, self.tasks = 0, list[int]()

    def begin_task(self, task: Task) -> None:
        """Makes room for images of the task's shape."""
        if not hasattr(self, "x"):
            shape = task.train[torch.zeros(1, dtype=torch.long)].x.shape[1:]
            self.register_buffer("x", torch.zeros(self.size, *shape, device=self.y.device))

    def __len__(self) -> int:
        """Images kept now."""
        return len(self.tasks)

    def offer(self, batch: Batch) -> None:
        """Offers the images of a batch; some replace others."""
        begun, count = self.seen, len(batch.y)
        placed = min(max(self.size - begun, 0), count)
        slots = torch.arange(begun, begun + placed)
        if placed < count:
            highest = torch.arange(begun + placed, begun + count, dtype=torch.double) + 1
            if self.batchwise:
                highest = torch.full_like(highest, begun + placed)
            drawn = (torch.rand(count - placed, dtype=torch.double) * highest).long()
            slots = torch.cat([slots, drawn])
        for row, slot in enumerate(slots.tolist()):  # of two for one slot the later stays
            if slot < self.size:
                self.x[slot], self.y[slot] = batch.x[row].detach(), batch.y[row]
                self.tasks[slot : slot + 1] = [int(batch.t[row])]
        self.seen += count

    def draw(self, number: int, without: int | None = None) -> Batch | None:
        """Up to `number` distinct images at random, of other tasks than `without`; None if none."""
        tasks = torch.tensor(self.tasks, dtype=torch.long)
        rows = (tasks != (-1 if without is None else without)).nonzero()[:, 0]
        rows = rows[torch.randperm(len(rows))[:number]]
        if not len(rows):
            return None
        here = rows.to(self.x.device)
        return Batch(self.x[here], self.y[here], tasks[rows])

    def get_extra_state(self) -> dict[str, Any]:
        return {"seen": self.seen, "tasks": list(self.tasks)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.seen, self.tasks = state["seen"], list(state["tasks"])


class Rings(nn.Module):
    """The latest images of every class of every task.

    Args:
        per_class: images kept of a class.
    """

    def __init__(self, per_class: int) -> None:
        super().__init__()
        if per_class < 1:
            raise ValueError(f"strategy.per_class={per_class}: give a number of images, 1 or more")
        self.per_class = per_class
        self.seen: dict[int, list[int]] = {}  # images met of each class of each task

    def begin_task(self, task: Task) -> None:
        """Makes room for the classes of a task."""
        if task.index in self.seen:
            return
        self.seen[task.index] = [0] * len(task.classes)
        first = task.train[torch.zeros(1, dtype=torch.long)].x
        size = (len(task.classes), self.per_class, *first.shape[1:])
        self.register_buffer(f"x_{task.index}", first.new_zeros(*size))

    def offer(self, batch: Batch) -> None:
        """Keeps the images of a batch, each in place of the oldest of its class."""
        for row, (label, task) in enumerate(zip(batch.y.tolist(), batch.t.tolist(), strict=True)):
            seen = self.seen[task]
            slot = seen[label] % self.per_class
            self.get_buffer(f"x_{task}")[label, slot] = batch.x[row].detach()
            seen[label] += 1

    def draw(self, number: int, without: int) -> Batch | None:
        """Up to `number` distinct images at random, of other tasks than `without`; None if none."""
        places = [
            (task, label, slot)
            for task, counts in self.seen.items()
            if task != without
            for label, seen in enumerate(counts)
            for slot in range(min(seen, self.per_class))
        ]
        if not places:
            return None
        chosen = [places[row] for row in torch.randperm(len(places))[:number].tolist()]
        x = torch.stack([self.get_buffer(f"x_{task}")[label, slot] for task, label, slot in chosen])
        tasks, labels, _ = zip(*chosen, strict=True)
        return Batch(x, torch.tensor(labels, device=x.device), torch.tensor(tasks))

    def get_extra_state(self) -> dict[str, Any]:
        return {"seen": {task: list(counts) for task, counts in self.seen.items()}}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.seen.update(state["seen"])
