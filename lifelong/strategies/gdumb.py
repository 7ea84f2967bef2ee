"""GDumb: a balanced memory is filled greedily, and a network is trained on it from its beginning.

Prabhu, Torr, Dokania, "GDumb: A Simple Approach that Questions Our Progress in Continual Learning",
ECCV 2020, algorithms 1 and 2; CutMix as there (Yun et al., "CutMix: Regularization Strategy to
Train Strong Classifiers with Localizable Features", ICCV 2019; torchvision has it).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.data import Batch, Images, Visit
from lifelong.networks import TaskNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.copies import put_back, tensors_of
from lifelong.parts.memory import EMPTY, Balanced
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.rehearsal import Rehearsal
from lifelong.strategies.strategy import Round, Rounds, Strategy


class GDumb(Rehearsal):
    """Sees each image once, in a random order, and keeps as many of each class; then trains anew.

    The network begins each training with its first weights. The protocol's epochs are passes over
    the memory.

    Args:
        network: see `Strategy`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`; it begins anew with each training.
        memory: images kept of the whole stream.
        train: after `each` visit, or after the `last` alone.
        cutmix: probability that a batch has boxes of other images of the batch pasted in, of a
            share that is uniform in (0, 1); the loss has the labels of both by their shares.
        augment_memory: draw the stream's training augmentation anew.

    Raises:
        ValueError: a probability out of range.

    >>> import torch
    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import GDumb, MultiHead, Network, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> method = GDumb(network, partial(SGD, lr=0.1), memory=20)
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=10)
    >>> for visit in stream.visits[:2]:
    ...     method.begin_task(visit)
    ...     memory = next(method.rounds(visit)).train()
    >>> memory.t.bincount()
    tensor([10, 10])
    """

    divides: ClassVar[bool] = True
    steps_own_heads: ClassVar[bool] = False
    refuses: Mapping[str, str] = {
        **Strategy.refuses,
        "online": "it passes many times over its memory",
        "optimizer_lifetime": "each training begins anew; give task",
    }

    def __init__(
        self,
        network: TaskNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        memory: int = 500,
        train: Literal["each", "last"] = "each",
        cutmix: float = 0.5,
        augment_memory: bool = True,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        self.memory, self.each = Balanced(memory), train == "each"
        if not 0 <= cutmix <= 1:
            raise ValueError(f"strategy.cutmix={cutmix}: give a probability from 0 to 1")
        self.cutmix, self.augment_memory = cutmix, augment_memory
        self.method |= {"memory": memory, "cutmix": cutmix}
        self._first: dict[str, Tensor] = {}  # weights before any training
        self._val: dict[int, Images] = {}  # of the seen tasks

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        for name, value in tensors_of(self.network).items():
            self._first.setdefault(name, value)
        self._val |= {task.index: task.val for task in visit.tasks}

    def rounds(self, visit: Visit) -> Rounds:
        order = torch.randperm(len(visit.train))
        for rows in order.split(500):
            self.memory.add(visit.train[rows])
        if not self.each and not visit.is_last:
            return
        put_back(self.network, self._first)
        self.began = self.scheduled = 0
        val = Images.joined(list(self._val.values()))
        yield Round("memory", train=self.images, val=val)

    def images(self) -> Images:
        """Those of the memory."""
        filled = (self.memory.tasks != EMPTY).nonzero()[:, 0]
        found = self.memory.kept().part(filled)
        if not self.augment_memory:
            found.augment = None
        return found

    def training_loss(self, batch: Batch) -> Tensor:
        if not self.cutmix or float(torch.rand(())) >= self.cutmix:
            return super().training_loss(batch)
        x, share = cut_mixed(batch.x)
        loss = share * F.cross_entropy(self(x, batch.t), batch.y)
        other = F.cross_entropy(self(x, batch.t.roll(1)), batch.y.roll(1))
        return loss + (1 - share) * other + self.penalty(batch.t)

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "first": self._first}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self._first = dict(state["first"])


def cut_mixed(x: Tensor) -> tuple[Tensor, float]:
    """Images (b, c, h, w) with a box of the image before pasted in, and the share that is left."""
    from torchvision.transforms.v2 import CutMix

    number = len(x)
    mixed, shares = CutMix(num_classes=number)(x, torch.arange(number))
    return mixed, float(shares[0, 0]) if number > 1 else 1.0
