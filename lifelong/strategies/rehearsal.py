"""What methods with a memory of images have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

import torch
from torch import Tensor

from lifelong.backbones import moving
from lifelong.data import Batch, Task, Visit, generators
from lifelong.parts.memory import Memory, check_augment
from lifelong.strategies.strategy import Strategy

CLOSE = (1e-3, 0.02)  # of the largest score: rounding in 32 and in 16 bits is less


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
            `together`; None: where the numbers are the same, to rounding, which is tried: not
            where anything draws, or tells images by others of their batch, as batch-norm does.

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
        super().check(tasks)
        check_augment(self.augment_memory, tasks)

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        self.memory.begin_task(visit)
        norms = any(moving.moves(part) for part in self.network.modules())
        self._joins = False if norms and self.joint_batch is None else self.joint_batch

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        known = self._answered.get(id(x))
        return super().forward(x, t) if known is None else known

    @contextmanager
    def together(self, *batches: Batch) -> Iterator[None]:
        """Within, the scores of the images of these batches are of one pass, see `joint_batch`."""
        filled = [batch for batch in batches if len(batch.y)]
        if len(filled) > 1 and self._joins is None:
            self._joins = self._may_join(filled)
        if len(filled) > 1 and self._joins:
            self._answered = self._of_one_pass(filled)
        try:
            yield
        finally:
            self._answered = {}

    def _of_one_pass(self, batches: Sequence[Batch]) -> dict[int, Tensor]:
        """Scores of several batches, by the identity of their images."""
        x, t = (torch.cat([batch[part] for batch in batches]) for part in (0, 2))
        scores = self(x, t).split([len(batch.y) for batch in batches])
        return {id(batch.x): own for batch, own in zip(batches, scores, strict=True)}

    @torch.no_grad()
    def _may_join(self, batches: Sequence[Batch]) -> bool:
        """Whether scores are the same in one pass, see `joint_batch`; leaves no trace."""
        first = batches[0]
        with generators.undisturbed(), moving.untouched(self.network):
            before = generators.state()
            together = self._of_one_pass(batches)[id(first.x)]
            alone = self(first.x, first.t)
            drew = generators.drew(before)
        known = alone.isfinite()
        if not known.any():  # it diverged, which the loss is going to tell
            return False
        off = (alone - together[:, : alone.shape[1]])[known].abs().max()  # the rest is others'
        rounded = torch.is_autocast_enabled(alone.device.type) or alone.dtype.itemsize < 4
        close = CLOSE[rounded] * alone[known].abs().max()
        return not drew and bool(off <= close)
