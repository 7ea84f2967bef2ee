"""A part of a body that tasks can share or not."""

from __future__ import annotations

from typing import Self

from torch import Tensor, nn


class Unit(nn.Module):
    """A part of a body that can be shared: a map, and what follows it.

    The two are apart so that several maps can be mixed before the rest.

    Attributes:
        skip: the number of the unit whose output is added to this one's, or None.
        by_batch: whether images of several configurations must not come in one batch.
    """

    skip: int | None = None
    by_batch: bool = False

    def reinitialized(self) -> Self:
        """A new unit of the same shape with newly drawn weights."""
        raise NotImplementedError

    def restart(self) -> None:
        """Called before a task's units are drawn: they depend on the generator alone then."""

    def map(self, x: Tensor) -> Tensor:
        """The map, under the unit's own weights."""
        raise NotImplementedError

    def bent(self, z: Tensor, skip: Tensor | None = None) -> Tensor:
        """The non-linearity behind the map, if it is no part of it."""
        return z

    def pooled(self, h: Tensor) -> Tensor:
        """The pooling that ends the unit, if it has one."""
        return h

    def activate(self, z: Tensor, skip: Tensor | None = None) -> Tensor:
        """What follows the map: non-linearity, skip addition, pooling."""
        return z

    def forward(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        return self.activate(self.map(x), skip)
