"""Synaptic intelligence (SI): weights are held by what they did for the loss while they moved.

Zenke, Poole, Ganguli, "Continual Learning Through Synaptic Intelligence", ICML 2017; a baseline of
MAS (ECCV 2018).
"""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
from torch import Tensor
from torch.optim import Optimizer

from lifelong.data import Visit
from lifelong.networks import TaskNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.anchor import buffer_of, key
from lifelong.strategies.anchored import Anchored, AnchoredOptions
from lifelong.strategies.learner import MakeOptimizer


class SI(Anchored):
    """Cross-entropy plus strength * sum of importance (theta - anchor)^2.

    In every step w grows by -g (theta_after - theta_before), g being the gradient without the
    penalty. After a task the importance grows by max(0, w / (move^2 + damping)), where the move is
    that from the begin of the task to its end.

    Args:
        network: see `Strategy`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        strength: lambda.
        damping: xi, above 0.
        **options: `penalty` and `halve_below`, see `Anchored`.

    Raises:
        ValueError: a damping that is not above 0.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import MultiHead, Network, SI, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> method = SI(network, partial(SGD, lr=0.1), strength=300.0, damping=0.1)
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> visit = stream.visits[0]
    >>> method.begin_task(visit)
    >>> sorted(method.regularized_params())
    ['body.0.bias', 'body.0.weight']
    """

    steps_own_heads: ClassVar[bool] = True
    capturable: ClassVar[bool] = True
    divides: ClassVar[bool] = True

    def __init__(
        self,
        network: TaskNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        strength: float = 300.0,
        damping: float = 0.1,
        **options: Unpack[AnchoredOptions],
    ) -> None:
        super().__init__(network, optimizer, schedule, strength=strength, **options)
        if damping <= 0:
            raise ValueError(f"strategy.damping={damping}: give a number above 0")
        self.damping = damping
        self._before: list[tuple[Tensor, Tensor, Tensor]] = []  # w, theta and g of a step

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        for name, p in self._regularized.items():
            self.register_buffer(f"path_{key(name)}", torch.zeros_like(p))

    def restart_task(self) -> None:
        super().restart_task()
        for name in self._regularized:
            self.path(name).zero_()

    def path(self, name: str) -> Tensor:
        """The w of a parameter."""
        return buffer_of(self, f"path_{key(name)}")

    @torch.no_grad()
    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self._before = [
            (self.path(name), p.detach().clone(), p.grad.clone())
            for name, p in self._regularized.items()
            if p.grad is not None
        ]
        super().on_before_optimizer_step(optimizer)

    @torch.no_grad()
    def after_step(self) -> None:
        super().after_step()
        moved = [p for p in self._regularized.values() if p.grad is not None]
        for (path, before, gradient), p in zip(self._before, moved, strict=True):
            moved_by = before - p  # nothing in a step that is left out, as its gradient overflowed
            path.addcmul_(gradient.masked_fill(moved_by == 0, 0), moved_by)
        self._before = []

    def importance_of(self, visit: Visit) -> dict[str, Tensor]:
        return {
            name: (
                self.path(name) / ((p.detach() - self.anchor.weight(name)).square() + self.damping)
            ).clamp(min=0)
            for name, p in self._regularized.items()
        }

    def accumulate_importance(self, name: str, found: Tensor) -> None:
        self.anchor.importance(name).add_(found)
