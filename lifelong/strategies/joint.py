"""Joint training: all tasks at once, the usual upper bound of sequential learning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from lifelong.data import Images, Task, Visit
from lifelong.strategies.strategy import Round, Rounds, Strategy


class Joint(Strategy):
    """Trains once, when the last task is met, on the images of all tasks.

    The protocol's epochs are passes over the images of all tasks, so that each task takes as many
    steps as in sequential training.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import Joint, MultiHead, Network, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> method = Joint(network, partial(SGD, lr=0.1))
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> for visit in stream:
    ...     method.begin_task(visit)
    >>> len(next(method.rounds(visit)).train), len(visit.train)
    (1205, 237)
    """

    divides: ClassVar[bool] = True
    refuses: Mapping[str, str] = {
        **Strategy.refuses,
        "online": "it learns all images when the last task is met",
    }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._met: dict[int, Task] = {}

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        self._met[visit.task.index] = visit.task

    def rounds(self, visit: Visit) -> Rounds:
        if visit.is_last:
            tasks = self._met.values()
            train, val = ([getattr(each, part) for each in tasks] for part in ("train", "val"))
            yield Round("all tasks at once", train=Images.joined(train), val=Images.joined(val))
