"""A training step whose batch is passed several times, as one step of a method."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from torch import nn

from lifelong.backbones import moving
from lifelong.data import Fed, generators
from lifelong.parts.memory import Memory

T = TypeVar("T")


class RepeatedStep:
    """Later passes draw what the first one drew, and leave no trace but gradients.

    What the first pass remembers (images in a memory, a posterior) is carried out when the step is
    through, so that all passes find the same; what a forward moves (running statistics) is as
    the first pass left it.

    Args:
        parts: of the method whose step it is, each module for itself.
        whole: its batch.

    Attributes:
        notes: what is to be carried out.
        repeating: whether this is a later pass.

    >>> import torch
    >>> from lifelong.data import Batch
    >>> rows = torch.zeros(2).long()
    >>> batch = Batch(torch.zeros(2, 1, 8, 8), rows, rows, rows)
    >>> step = RepeatedStep([nn.Dropout()], Fed(batch, {}))
    >>> first = float(torch.rand(()))
    >>> with step.again():
    ...     float(torch.rand(())) == first
    True
    """

    def __init__(self, parts: Sequence[nn.Module], whole: Fed) -> None:
        self.whole = whole
        self.notes: list[Callable[[], object]] = []
        self.repeating = False
        self._memories = [each for each in parts if isinstance(each, Memory)]
        self._moving = moving.Moving(parts)
        self._moved: list[nn.Module] | None = None  # in the first pass
        self._first = generators.state()
        self._once: list[tuple[Any, generators.State]] = []  # what the first pass computed
        self._asked = 0  # how much of it this pass asked for
        for memory in self._memories:
            memory.waiting = self.notes

    @contextmanager
    def again(self) -> Iterator[None]:
        """Within, the batch is passed once more."""
        after, noted = generators.state(), len(self.notes)
        if self._moved is None:
            self._moved = self._moving.moved()
        found = [(*place, place[-1].clone()) for place in moving.buffers(self._moved)]
        generators.put(self._first)
        self.repeating, self._asked = True, 0
        try:
            yield
        finally:
            self.repeating = False
            generators.put(after)
            del self.notes[noted:]
            moving.put_back(found)

    def once(self, compute: Callable[[], T]) -> T:
        """What the first pass computes, and the others find again, behind the same draws."""
        if not self.repeating:
            self._once.append((compute(), generators.state()))
            found: T = self._once[-1][0]
            return found
        found, after = self._once[self._asked]
        self._asked += 1
        generators.put(after)
        return found

    def end(self) -> None:
        """Carries out what the first pass noted."""
        for memory in self._memories:
            memory.waiting = None
        for note in self.notes:
            note()
