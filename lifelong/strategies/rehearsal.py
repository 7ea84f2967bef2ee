"""What methods with a memory of images have in common."""

from __future__ import annotations

from collections.abc import Sequence

from lifelong.data import Task, Visit
from lifelong.parts.memory import Memory, check_augment
from lifelong.strategies.strategy import Strategy


class Rehearsal(Strategy):
    """Keeps some images of the stream; what is done with them, a method says.

    Attributes:
        memory: holds them.
        augment_memory: draw the stream's training augmentation anew for them; else they are shown
            as in tests.

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

    def check(self, tasks: Sequence[Task]) -> None:
        check_augment(self.augment_memory, tasks)

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        self.memory.begin_task(visit)
