"""A task's turn in a stream: what a method is given to learn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lifelong.data.task import Images, Task


@dataclass(frozen=True)
class Visit:
    """A place in a stream; a stream may visit a task more than once.

    Attributes:
        number: of the visit, from 1.
        task: that is learned.
        is_last: whether the stream ends with it.
        mixed: the images that are trained on, where they are not those of the task alone.
        others: tasks that some of these are of, beside the one that is learned.

    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> [visit.task.classes for visit in stream]
    [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    """

    number: int
    task: Task
    is_last: bool
    mixed: Images | None = None
    others: tuple[Task, ...] = ()

    @property
    def train(self) -> Images:
        """The images that are trained on."""
        return self.task.train if self.mixed is None else self.mixed

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks that images of the visit are of, the one that is learned first."""
        return (self.task, *self.others)

    def description(self) -> dict[str, Any]:
        """The visit without images, as plain values and tensors."""
        tasks = [task.description() for task in self.tasks]
        return {"number": self.number, "is_last": self.is_last, "tasks": tasks}

    @staticmethod
    def from_description(values: dict[str, Any]) -> Visit:
        """The visit that was described; see `Task.from_description`."""
        task, *others = (Task.from_description(entry) for entry in values["tasks"])
        return Visit(values["number"], task, values["is_last"], others=tuple(others))
