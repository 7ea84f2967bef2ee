"""Averaged gradient episodic memory (A-GEM): steps do not raise the loss on images of the past.

Chaudhry et al., "Efficient Lifelong Learning with A-GEM", ICLR 2019, as a baseline of TAG (CoLLAs
2022). With `fidelity=authors` the current batch passes the network once more before the memory
batch, as in TAG's released program, which shifts the running statistics of batch-norm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from lifelong.data import Batch
from lifelong.networks import TaskNetwork
from lifelong.networks.divided import undivided
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.memory import Memory, Reservoir, RingBuffer
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.rehearsal import Rehearsal
from lifelong.strategies.strategy import Strategy


class AGEM(Rehearsal):
    """Takes the part of the gradient away that points against that of a memory batch.

    Args:
        network: see `Strategy`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        per_class: images kept of each class, the latest ones.
        memory: images kept of the whole stream by a reservoir, in place of these (A-GEM-R).
        augment_memory: draw the stream's training augmentation anew for images of the memory; else
            they are shown as in tests.
        fidelity: `clean` or `authors`, see above.

    >>> import torch
    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import AGEM, MultiHead, Network, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> method = AGEM(network, partial(SGD, lr=0.1), per_class=10)
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> visit = stream.visits[0]
    >>> method.begin_task(visit)
    >>> loss = method.training_loss(visit.train[torch.arange(32)])
    >>> loss.shape
    torch.Size([])
    """

    divides: ClassVar[bool] = True
    acts_with: ClassVar[dict[str, str]] = {"per_class": "memory=null"}
    refuses: Mapping[str, str] = {
        **Strategy.refuses,
        "float16": "the gradient on the memory is taken without a scaler; give bf16-mixed",
    }

    def __init__(
        self,
        network: TaskNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        per_class: int = 1,
        memory: int | None = None,
        augment_memory: bool = True,
        fidelity: Literal["clean", "authors"] = "clean",
    ) -> None:
        super().__init__(network, optimizer, schedule)
        self.authors, self.augment_memory = fidelity == "authors", augment_memory
        self.memory: Memory = RingBuffer(per_class) if memory is None else Reservoir(memory)
        kept = {"per_class": per_class} if memory is None else {"memory": memory}
        self.method |= {"fidelity": fidelity, **kept}
        self._reference: list[Tensor | None] | None = None

    def training_loss(self, batch: Batch) -> Tensor:
        self._reference = self.once(lambda: self._on_memory(batch))
        return super().training_loss(batch)

    def _on_memory(self, batch: Batch) -> list[Tensor | None] | None:
        """The gradient on images of the memory, at the weights themselves; none without any."""
        old, _ = self.memory.sample(len(batch.y), without=self.current, augment=self.augment_memory)
        self.memory.add(batch)
        if self.authors:
            with torch.no_grad():
                self(batch.x, batch.t)
        if not len(old.y):
            return None
        with undivided():
            loss = F.cross_entropy(self(old.x, old.t), old.y)
        return list(torch.autograd.grad(loss, self._trained(), allow_unused=True))

    def _trained(self) -> list[torch.nn.Parameter]:
        return [p for p in self.network.parameters() if p.requires_grad]

    @torch.no_grad()
    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if self._reference is not None:
            project(self._trained(), self._reference)

    def after_step(self) -> None:
        self._reference = None


def project(params: Sequence[nn.Parameter], reference: Sequence[Tensor | None]) -> None:
    """G <- g - min(<g, r>, 0) / <r, r> r for the gradients g of `params`; None counts as zero.

    A parameter that only the reference moves, such as the head of an earlier task, gets its part
    too: without it <g, r> would stay negative.
    """
    pairs = [(p, r) for p, r in zip(params, reference, strict=True) if r is not None]
    dots = [(p.grad * r).sum() for p, r in pairs if p.grad is not None]
    if not dots:
        return
    square = torch.stack([r.square().sum() for _, r in pairs]).sum()
    share = torch.where(square > 0, torch.stack(dots).sum().clamp(max=0) / square, 0.0)
    for p, r in pairs:
        if p.grad is None:
            p.grad = -share * r
        else:
            p.grad.sub_(share * r)
