"""Gradient episodic memory (GEM): a step raises the loss on the memory of no earlier task.

Lopez-Paz, Ranzato, "Gradient Episodic Memory for Continual Learning", NeurIPS 2017, equations 8 to
11, with the margin of its official implementation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer

from lifelong.data import Batch
from lifelong.networks import TaskNetwork
from lifelong.networks.divided import undivided
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.memory import RingBuffer
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.rehearsal import Rehearsal
from lifelong.strategies.strategy import Strategy

TINY = 1e-3  # added to the diagonal of G G^T, as in the official implementation


class GEM(Rehearsal):
    """Takes the gradient nearest to that of the batch which agrees with those of all memories.

    Args:
        network: see `Strategy`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        per_class: images kept of each class, the latest ones; all of a task are asked in each step.
        margin: least multiplier of the gradient of each memory, where any of them disagrees.
        augment_memory: draw the stream's training augmentation anew for images of the memory.

    Raises:
        ValueError: a negative margin.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import GEM, MultiHead, Network, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> GEM(network, partial(SGD, lr=0.1), per_class=5).method
    {'per_class': 5, 'margin': 0.5}
    """

    divides: ClassVar[bool] = True
    refuses: Mapping[str, str] = {
        **Strategy.refuses,
        "float16": "the gradients on the memory are taken without a scaler; give bf16-mixed",
    }

    def __init__(
        self,
        network: TaskNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        per_class: int = 25,
        margin: float = 0.5,
        augment_memory: bool = True,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if margin < 0:
            raise ValueError(f"strategy.margin={margin}: must not be negative")
        self.margin, self.augment_memory = margin, augment_memory
        self.memory = RingBuffer(per_class)
        self.method |= {"per_class": per_class, "margin": margin}
        self._references: list[Tensor] = []  # gradient on the memory of each earlier task

    def training_loss(self, batch: Batch) -> Tensor:
        self._references = self.once(lambda: self._on_memory(batch))
        return super().training_loss(batch)

    def _on_memory(self, batch: Batch) -> list[Tensor]:
        """The gradient on the images of each earlier task, at the weights themselves."""
        self.memory.add(batch)
        found = []
        for task in self.classes:
            if task == self.current:
                continue
            old, _ = self.memory.sample(of=task, augment=self.augment_memory)
            if len(old.y):
                with undivided():
                    loss = F.cross_entropy(self(old.x, old.t), old.y)
                found.append(self._flat(loss))
        return found

    def _flat(self, loss: Tensor) -> Tensor:
        params = self._trained()
        slopes = torch.autograd.grad(loss, params, allow_unused=True)
        parts = [
            torch.zeros_like(p) if slope is None else slope
            for p, slope in zip(params, slopes, strict=True)
        ]
        return torch.cat([part.flatten() for part in parts])

    def _trained(self) -> list[torch.nn.Parameter]:
        return [p for p in self.network.parameters() if p.requires_grad]

    @torch.no_grad()
    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if not self._references:
            return
        params = self._trained()
        none = [torch.zeros_like(p) if p.grad is None else p.grad for p in params]
        own = torch.cat([part.flatten() for part in none])
        memories = torch.stack(self._references)  # (tasks, n)
        dots = (memories @ own).double().cpu().numpy()
        if not (dots < 0).any():
            return
        gram = (memories @ memories.T).double().cpu().numpy()
        shares = multipliers(gram, dots, self.margin)
        moved = own + torch.from_numpy(shares).to(own) @ memories
        for p, part in zip(params, moved.split([p.numel() for p in params]), strict=True):
            p.grad = part.view_as(p).to(p, copy=True)  # one layer may be more precise

    def after_step(self) -> None:
        self._references = []


def multipliers(
    gram: NDArray[np.float64], dots: NDArray[np.float64], margin: float
) -> NDArray[np.float64]:
    """V of the least 1/2 v^T P v + q^T v with v >= margin, P = G G^T and q = G g (equation 11).

    As non-negative least squares in u = v - margin: |L^T u + L^-1 q + margin L^T 1| with P = L L^T.

    Args:
        gram: P, (t, t).
        dots: q, (t,).
        margin: 0 or more.

    >>> multipliers(np.array([[2.0]]), np.array([-3.0]), 0.0).round(2)
    array([1.5])
    """
    from scipy.optimize import nnls

    root = np.linalg.cholesky(gram + TINY * np.eye(len(gram)))
    wanted = -np.linalg.solve(root, dots) - margin * root.T.sum(1)
    found: NDArray[np.float64] = nnls(root.T, wanted)[0] + margin
    return found
