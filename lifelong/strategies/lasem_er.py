"""LASEM with experience replay: what is shared also answers images of the past.

In LASEM (Lee, Behpour, Eaton, ICML 2021) the slots that earlier tasks share move with the new task
alone. Here the loss of a step also has that of a memory batch under the configurations of its
tasks, as in ER (Chaudhry et al., 2019), so that slots move for both.
"""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch.nn.functional as F
from torch import Tensor

from lifelong.data import Batch
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.memory import Reservoir
from lifelong.strategies.lasem import LASEM, LASEMOptions
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.rehearsal import Rehearsal
from lifelong.transfer import TransferNetwork


class LASEMER(Rehearsal, LASEM):
    """See `LASEM`; images of earlier tasks are learned along, their own weights staying frozen.

    Args:
        network: see `LASEM`.
        optimizer: see `LASEM`.
        schedule: see `LASEM`.
        memory: images kept of the whole stream.
        augment_memory: draw the stream's training augmentation anew for images of the memory.
        **options: of `LASEM`.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import LASEMER, MultiHead, convnet
    >>> from lifelong.transfer import HardTransferLayer, TransferNetwork, every
    >>> body = partial(convnet, (1, 8, 8), [4, 8], [2, 2])
    >>> network = TransferNetwork(body, MultiHead, HardTransferLayer, every)
    >>> method = LASEMER(network, partial(SGD, lr=0.1), memory=50, em="release")
    >>> method.method["memory"], method.method["likelihood"]
    (50, 'mean')
    """

    capturable: ClassVar[bool] = False
    divides: ClassVar[bool] = True

    def __init__(
        self,
        network: TransferNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        memory: int = 100,
        augment_memory: bool = True,
        **options: Unpack[LASEMOptions],
    ) -> None:
        super().__init__(network, optimizer, schedule, **options)
        self.memory, self.augment_memory = Reservoir(memory), augment_memory
        self.method["memory"] = memory

    def training_loss(self, batch: Batch) -> Tensor:
        loss = super().training_loss(batch)
        old, _ = self.memory.sample(len(batch.y), without=self.current, augment=self.augment_memory)
        if len(old.y):
            loss = loss + F.cross_entropy(self(old.x, old.t), old.y)
        self.memory.add(batch)
        return loss
