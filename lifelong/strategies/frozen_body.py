"""A body that learns the first task alone; later tasks train their heads on its features."""

from __future__ import annotations

from typing import ClassVar, Self

from lifelong.data import Visit
from lifelong.networks import Network
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Strategy


class FrozenBody(Strategy):
    """Fine-tuning of the heads alone after the first visit: nothing of the body is forgotten.

    Running statistics of batch-norm are frozen too. With `blocks` the first ones of the body are
    frozen, and the rest is trained on.

    Args:
        network: see `Strategy`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        blocks: of the body that are frozen, input first: its layers where it is a stack of layers;
            null for all of it.

    Raises:
        ValueError: more blocks than there are.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import FrozenBody, MultiHead, Network, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> method = FrozenBody(network, partial(SGD, lr=0.1))
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> for visit in stream.visits[:2]:
    ...     method.begin_task(visit)
    >>> any(p.requires_grad for p in network.body.parameters())
    False
    """

    capturable: ClassVar[bool] = True
    divides: ClassVar[bool] = True

    def __init__(
        self,
        network: Network,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        blocks: int | None = None,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        self.blocks = blocks  # in `_kept` in a tuple: all is registered once, with the network
        self._kept = (network.body,) if blocks is None else tuple(network.body.first_blocks(blocks))
        self.frozen = False

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        self.frozen = visit.number > 1
        if self.frozen:
            for part in self._kept:
                part.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.frozen:
            for part in self._kept:
                part.eval()
        return self
