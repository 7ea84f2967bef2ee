"""Shrink and perturb: before a task all weights shrink and get noise, so that they can learn anew.

Ash, Adams, "On Warm-Starting Neural Network Training", NeurIPS 2020, section 4: theta <- lambda
theta + p with p normal.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from lifelong.data import Visit
from lifelong.networks import Heads, TaskNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Strategy


class ShrinkPerturb(Strategy):
    """Fine-tuning; before each visit but the first the body's weights shrink and are perturbed.

    Heads stay: those of earlier tasks are needed as they are, that of the task is new.

    Args:
        network: of one body.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        shrink: lambda, from 0 to 1.
        deviation: of the noise, 0 or more.

    Raises:
        ValueError: a value out of range.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import MultiHead, Network, ShrinkPerturb, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> ShrinkPerturb(network, partial(SGD, lr=0.1), shrink=0.4).method
    {'shrink': 0.4, 'deviation': 0.01}
    """

    divides: ClassVar[bool] = True
    capturable: ClassVar[bool] = True

    def __init__(
        self,
        network: TaskNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        shrink: float = 0.4,
        deviation: float = 0.01,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if not 0 <= shrink <= 1 or deviation < 0:
            raise ValueError(
                f"strategy.shrink={shrink} must be from 0 to 1, strategy.deviation={deviation} not "
                "negative"
            )
        self.shrink, self.deviation = shrink, deviation
        self.method |= {"shrink": shrink, "deviation": deviation}

    @torch.no_grad()
    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        heads = {
            id(p)
            for part in self.network.modules() if isinstance(part, Heads)
            for p in part.parameters()
        }  # fmt: skip
        for p in self.network.parameters() if visit.number > 1 else ():
            if id(p) not in heads and p.requires_grad:
                noise = torch.randn(p.shape, dtype=p.dtype).to(p.device)
                p.mul_(self.shrink).add_(noise, alpha=self.deviation)
