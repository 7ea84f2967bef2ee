"""What methods with a memory of images have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

import torch
from torch import Tensor, nn

from lifelong.backbones import generators
from lifelong.data import Batch, Task, Visit
from lifelong.parts.memory import Memory, check_augment
from lifelong.strategies.strategy import Strategy


def none_of(batch: Batch) -> Batch:
    """A batch of no image."""
    return Batch(*(part[:0] for part in batch))


class Rehearsal(Strategy):
    """Keeps some images of the stream; what is done with them, a method says.

    Attributes:
        memory: holds them.
        augment_memory: draw the stream's training augmentation anew for them; else they are shown
            as in tests.
        joint_batch: pass a batch and images of the memory through the network together, see
            `together`; None: where the numbers are the same, to rounding, which is where nothing
            draws and no batch-norm sees both.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import EWC, MultiHead, Network, Rehearsal, Reservoir, mlp
    >>> class Both(Rehearsal, EWC):
    ...     def __init__(self, *args, memory=100, **options):
    ...         super().__init__(*args, **options)
    ...         self.memory, self.augment_memory = Reservoir(memory), True
    >>> method = Both(Network(partial(mlp, (1, 8, 8), [16]), MultiHead), partial(SGD, lr=0.1))
    >>> len(method.memory)
    0
    """

    memory: Memory
    augment_memory: bool
    joint_batch: bool | None = None
    _joins: bool | None = None  # None: found out at the first pass
    _answered: Mapping[int, Tensor] = MappingProxyType({})  # scores by identity of the images

    def check(self, tasks: Sequence[Task]) -> None:
        check_augment(self.augment_memory, tasks)

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        self.memory.begin_task(visit)
        norms = any(
            isinstance(part, nn.modules.batchnorm._BatchNorm) for part in self.network.modules()
        )
        self._joins = False if norms and self.joint_batch is None else self.joint_batch

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        known = self._answered.get(id(x))
        return super().forward(x, t) if known is None else known

    @contextmanager
    def together(self, *batches: Batch) -> Iterator[None]:
        """Within, the scores of the images of these batches are of one pass, see `joint_batch`."""
        filled = [batch for batch in batches if len(batch.y)]
        if self._joins is not False and len(filled) > 1:
            self._answered = self._of_one_pass(filled)
        try:
            yield
        finally:
            self._answered = {}

    def _of_one_pass(self, batches: Sequence[Batch]) -> dict[int, Tensor]:
        """Scores of several batches; nothing where that would be other ones, see `joint_batch`."""
        before = generators.state() if self._joins is None else None
        x, t = (torch.cat([batch[part] for batch in batches]) for part in (0, 2))
        scores = self(x, t).split([len(batch.y) for batch in batches])
        if before is not None:
            self._joins = not generators.drew(before)
            if not self._joins:
                generators.put(before)
                return {}
        return {id(batch.x): own for batch, own in zip(batches, scores, strict=True)}
