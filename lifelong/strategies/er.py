"""Experience replay (ER): images of the past are learned along with those of the task.

Chaudhry et al., "On Tiny Episodic Memories in Continual Learning", 2019, as a baseline of TAG
(CoLLAs 2022). With `fidelity=authors` as in TAG's released program: the memory is filled batch by
batch, and its batches may hold images of the current task; with `clean` the reservoir is exact,
and they do not.
"""

from __future__ import annotations

from typing import ClassVar, Literal, TypedDict

import torch.nn.functional as F
from torch import Tensor

from lifelong.data import Batch
from lifelong.networks import TaskNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.memory import Balanced, Memory, Reservoir
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.rehearsal import Rehearsal, none_of


class EROptions(TypedDict, total=False):
    """Options of `ER` that every method takes that stands on it."""

    memory: int
    balanced: bool
    augment_memory: bool
    joint_batch: bool | None
    fidelity: Literal["clean", "authors"]


class ER(Rehearsal):
    """The loss is the mean over the batch plus, from the second task on, that over a memory batch.

    Args:
        network: see `Strategy`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        memory: images kept of the whole stream.
        balanced: keep as many of every class, see `Balanced`; else a uniform sample of the stream.
        augment_memory: draw the stream's training augmentation anew for images of the memory; else
            they are shown as in tests.
        joint_batch: pass batch and memory batch through the network together; then batch-norm sees
            both. None: where that changes nothing, see `Rehearsal`.
        fidelity: `clean` or `authors`, see above.

    >>> import torch
    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import ER, MultiHead, Network, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> method = ER(network, partial(SGD, lr=0.1), memory=200)
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> visit = stream.visits[0]
    >>> method.begin_task(visit)
    >>> loss = method.training_loss(visit.train[torch.arange(32)])
    >>> len(method.memory)
    32
    """

    divides: ClassVar[bool] = True

    def __init__(
        self,
        network: TaskNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        memory: int = 100,
        balanced: bool = False,
        augment_memory: bool = True,
        joint_batch: bool | None = None,
        fidelity: Literal["clean", "authors"] = "clean",
    ) -> None:
        super().__init__(network, optimizer, schedule)
        self.authors, self.augment_memory = fidelity == "authors", augment_memory
        self.joint_batch = joint_batch
        self.memory: Memory = (
            Balanced(memory) if balanced else Reservoir(memory, batchwise=self.authors)
        )
        self.method |= {"fidelity": fidelity, "memory": memory, "balanced": balanced}

    def training_loss(self, batch: Batch) -> Tensor:
        rehearses = self.visit > 1 and len(self.classes) > 1
        old = self.rehearsed(batch) if rehearses else none_of(batch)
        with self.together(batch, old):
            loss = self.loss_of_batch(batch)
            if len(old.y):
                loss = loss + F.cross_entropy(self(old.x, old.t), old.y)
        self.memory.add(batch)
        return loss

    def loss_of_batch(self, batch: Batch) -> Tensor:
        """The part of the loss that is for the batch of the task."""
        return super().training_loss(batch)

    def rehearsed(self, batch: Batch) -> Batch:
        """Images of the memory that come beside a batch."""
        return self.drawn(len(batch.y))

    def drawn(self, number: int) -> Batch:
        """So many images of the memory at random."""
        without = None if self.authors else self.current
        return self.memory.sample(number, without=without, augment=self.augment_memory)[0]
