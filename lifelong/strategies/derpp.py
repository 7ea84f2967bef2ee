"""Dark experience replay (DER, DER++): rehearsal of images with the logits that they once had.

Buzzega, Boschini, Porrello, Abati, Calderara, "Dark Experience for General Continual Learning: a
Strong, Simple Baseline", NeurIPS 2020, equations 6 and 7; as its official implementation, with two
draws from the memory a step. DER is DER++ with `beta=0`.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.data import Batch
from lifelong.networks import TaskNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.memory import Reservoir
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.rehearsal import Rehearsal, none_of


class DERPP(Rehearsal):
    """The loss is CE(batch) + alpha MSE(logits of old images, kept ones) + beta CE(old images).

    The logits of an image are kept as they are when it enters the memory, for the classes that have
    outputs then; later outputs are left out of the MSE.

    Args:
        network: see `Strategy`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        memory: images kept of the whole stream.
        alpha: weight of the squared distance, 0 or more.
        beta: weight of the cross-entropy of a second draw, 0 or more; 0 for DER.
        augment_memory: draw the stream's training augmentation anew for images of the memory.
        joint_batch: see `ER`.

    Raises:
        ValueError: a negative weight.

    >>> import torch
    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import DERPP, MultiHead, Network, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> method = DERPP(network, partial(SGD, lr=0.1), memory=50)
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> visit = stream.visits[0]
    >>> method.begin_task(visit)
    >>> loss = method.training_loss(visit.train[torch.arange(32)])
    >>> method.memory.sample(5)[1]["logits"].shape
    torch.Size([5, 2])
    """

    divides: ClassVar[bool] = True

    def __init__(
        self,
        network: TaskNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        memory: int = 200,
        alpha: float = 0.1,
        beta: float = 0.5,
        augment_memory: bool = True,
        joint_batch: bool | None = None,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if alpha < 0 or beta < 0:
            raise ValueError(
                f"strategy.alpha={alpha} and strategy.beta={beta} must not be negative"
            )
        self.alpha, self.beta, self.augment_memory = alpha, beta, augment_memory
        self.joint_batch, self.memory = joint_batch, Reservoir(memory)
        self.method |= {"memory": memory, "alpha": alpha, "beta": beta}

    def training_loss(self, batch: Batch) -> Tensor:
        old, kept = self.memory.sample(len(batch.y), augment=self.augment_memory)
        again = none_of(batch)
        if self.beta:
            again, _ = self.memory.sample(len(batch.y), augment=self.augment_memory)
        with self.together(batch, old, again):
            scores = self(batch.x, batch.t)
            loss = F.cross_entropy(scores, batch.y) + self.penalty(batch.t)
            if len(old.y):
                loss = loss + self.alpha * distance(self(old.x, old.t), kept["logits"])
            if len(again.y):
                loss = loss + self.beta * F.cross_entropy(self(again.x, again.t), again.y)
        self.memory.add(batch, logits=scores)
        return loss


def distance(scores: Tensor, logits: Tensor) -> Tensor:
    """Mean squared distance where both are numbers, (b, k) each; either may have fewer columns."""
    columns = min(scores.shape[1], logits.shape[1])
    now, then = scores[:, :columns], logits[:, :columns]
    known = then.isfinite() & now.detach().isfinite()
    apart = torch.where(known, now, 0.0) - torch.where(known, then, 0.0)
    return apart.square().sum() / known.sum().clamp(min=1)
