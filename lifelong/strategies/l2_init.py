"""L2 Init: weights are drawn towards where they began, so that the network stays able to learn.

Kumar, Marklund, Van Roy, "Maintaining Plasticity in Continual Learning via Regenerative
Regularization", 2023 (CoLLAs 2024), equation 1.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from lifelong.data import Batch, Visit
from lifelong.networks import TaskNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Strategy


class L2Init(Strategy):
    """The loss is that of fine-tuning plus strength * |theta - theta_0|^2.

    Heads count from when they are made; those that a batch does not reach stay as they are.

    Args:
        network: see `Strategy`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        strength: lambda, 0 or more.

    Raises:
        ValueError: a negative strength.

    >>> import torch
    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import L2Init, MultiHead, Network, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> method = L2Init(network, partial(SGD, lr=0.1), strength=0.5)
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> method.begin_task(stream.visits[0])
    >>> method.distance().item()
    0.0
    """

    divides: ClassVar[bool] = True
    steps_own_heads: ClassVar[bool] = True

    def __init__(
        self,
        network: TaskNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        strength: float = 0.01,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if strength < 0:
            raise ValueError(f"strategy.strength={strength}: must not be negative")
        self.strength = strength
        self.method |= {"strength": strength}
        self.first: dict[str, Tensor] = {}  # theta_0, by name
        self._names: list[str] = []  # of what a step moves

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        idle = {id(p) for p in self.idle_parameters()}
        for name, p in self.network.named_parameters():
            self.first.setdefault(name, p.detach().clone())
        self._names = [
            name for name, p in self.network.named_parameters()
            if p.requires_grad and id(p) not in idle
        ]  # fmt: skip

    def distance(self) -> Tensor:
        """|theta - theta_0|^2."""
        parts = []
        for name in self._names:
            p = self.network.get_parameter(name)
            first = self.first[name] = self.first[name].to(p)
            parts.append((p - first).square().sum())
        return torch.stack(parts).sum()

    def training_loss(self, batch: Batch) -> Tensor:
        return super().training_loss(batch) + self.strength * self.distance()

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "first": dict(self.first)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self.first = dict(state["first"])
