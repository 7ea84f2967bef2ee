"""Conditional channel gating: each task opens channels of a shared body, image by image.

Abati et al., "Conditional Channel Gated Networks for Task-Aware Continual Learning", CVPR 2020. Two
variants:

`release`, that of LASEM's released program (ICML 2021): gates are a sharp softmax over channels,
the body is trained by every task and nothing is fixed. Its sparsity term is constant, because a
softmax sums to one.

`paper`: gates are binary; after each task the kernels of channels that fire on its validation
images are fixed, and the others are drawn anew. The paper's class-incremental mode, which
predicts the task, is not part of this.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from lifelong.data import Batch, Visit
from lifelong.networks import ChannelGatedNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Strategy

SPARSITY = {"release": 100.0, "paper": 0.5}


class ChannelGated(Strategy):
    """Trains body, gates and head of a task, with a penalty on open gates.

    Args:
        network: a channel-gated network of the same variant.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        variant: `release` or `paper`.
        sparsity: weight of the mean over layers of the mean gate; null for the variant's.
        sparsity_from: epochs of a task before that term counts; only `paper`.
        fix_above: `paper`: a channel is fixed if it fires for a larger share of the validation
            images (of the training images where there are none), in [0, 1).

    >>> import torch
    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import ChannelGated, ChannelGatedNetwork, MultiHead, convnet
    >>> body = partial(convnet, (1, 8, 8), [4, 8], [2, 2])
    >>> network = ChannelGatedNetwork(body, MultiHead, (1, 8, 8))
    >>> method = ChannelGated(network, partial(SGD, lr=0.1))
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> visit = stream.visits[0]
    >>> method.begin_task(visit)
    >>> network.logits(visit.train[torch.arange(4)].x, 0).shape
    torch.Size([4, 2])
    """

    acts_with: ClassVar[dict[str, str]] = {
        "sparsity": "variant=paper",
        "sparsity_from": "variant=paper and sparsity!=0|0.0",
        "fix_above": "variant=paper",
    }

    network: ChannelGatedNetwork
    age: Tensor

    def __init__(
        self,
        network: ChannelGatedNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        variant: Literal["release", "paper"] = "release",
        sparsity: float | None = None,
        sparsity_from: int = 20,
        fix_above: float = 0.0,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if not 0 <= fix_above < 1:
            raise ValueError(f"strategy.fix_above={fix_above}: give a share from 0 to below 1")
        self.fixes = self.modifies_earlier_tasks = variant == "paper"
        self.sparsity = SPARSITY[variant] if sparsity is None else sparsity
        self.sparsity_from = sparsity_from if self.fixes else 0
        self.fix_above = fix_above
        self.method |= {"variant": variant, "sparsity": self.sparsity}
        self.register_buffer("age", torch.zeros((), dtype=torch.long))  # epochs of this task

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        self.age.zero_()

    def training_loss(self, batch: Batch) -> Tensor:
        scores, gates = self.network.gated(batch.x, int(batch.t[0]))
        loss = F.cross_entropy(scores, batch.y)
        if self._sparse:
            loss = loss + self.sparsity * openness(gates)
        return loss

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._sparse = int(self.age) >= self.sparsity_from

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.age += 1

    @torch.no_grad()
    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        super().end_task(visit, loader)
        if not self.fixes:
            return
        images = visit.task.val if len(visit.task.val) else visit.train
        self.eval()
        rates = self._rates(images[rows] for rows in images.portions())
        self.train()
        for number, rate in enumerate(rates):
            self.network.fix(number, rate > self.fix_above)
        shares = [
            round(float(self.network.get_buffer(f"fixed_{number}").float().mean()), 6)
            for number in range(len(rates))
        ]
        self.method.setdefault("fixed_channels", {})[str(visit.number)] = shares

    def _rates(self, batches: Iterable[Batch]) -> list[Tensor]:
        """How often each channel of each layer fires, (c_out,) shares."""
        fired: list[Tensor] = []
        number = 0
        for batch in batches:
            _, gates = self.network.gated(batch.x, int(batch.t[0]))
            sums = [gate.sum(0) for gate in gates]
            fired = [a + b for a, b in zip(fired, sums, strict=True)] if fired else sums
            number += len(batch.y)
        return [total / number for total in fired]


def openness(gates: list[Tensor]) -> Tensor:
    """Mean over layers of the mean absolute gate."""
    return torch.stack([gate.abs().mean() for gate in gates]).mean()
