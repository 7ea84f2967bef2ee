"""Methods whose tasks each have a part of the body's weights (PackNet, WSN)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import functional_call
from torch.utils.data import DataLoader

from lifelong.data import Batch, Visit
from lifelong.measures import Prediction
from lifelong.networks import Network, by_task
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Strategy
from lifelong.strategies.weights_alone import WeightsAlone


class Subnetworks(WeightsAlone):
    """A method says in `used` which weights answer for a task, and in `trained` which a step moves.

    See `WeightsAlone` for what weights are. What a step is not to move is put back after it,
    whatever the optimizer does.

    Args:
        network: of one body.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.

    Attributes:
        numbers: for each task the number of its first visit.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import MultiHead, Network, Subnetworks, mlp
    >>> class Whole(Subnetworks):
    ...     def used(self, task):
    ...         return dict(self.weights())
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> list(Whole(network, partial(SGD, lr=0.1)).used(0))
    ['body.0.weight']
    """

    answers_with_body: ClassVar[bool] = False
    refuses: Mapping[str, str] = {
        **Strategy.refuses,
        "blurry": "a batch has the weights of one task",
    }

    def __init__(
        self, network: Network, optimizer: MakeOptimizer, schedule: Schedule = constant
    ) -> None:
        super().__init__(network, optimizer, schedule)
        self.numbers: dict[int, int] = {}
        self.method |= {"capacity": {}}
        self._held: dict[str, Tensor] = {}
        self._moves: dict[str, Tensor] = {}

    def used(self, task: int) -> dict[str, Tensor]:
        """The weights as they answer for a task."""
        raise NotImplementedError

    def trained(self) -> dict[str, Tensor]:
        """Which entries of the weights the current round moves, bool."""
        raise NotImplementedError

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        self.numbers.setdefault(visit.task.index, visit.number)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        def scores(rows: Tensor, task: int) -> Tensor:
            of_task = torch.full((len(rows),), task)
            found: Tensor = functional_call(self.network, self.used(task), (rows, of_task))
            return found

        return by_task(scores, x, t)

    def predict(self, x: Tensor, t: Tensor | None = None) -> Prediction:
        if t is not None:
            return super().predict(x, t)
        tasks = self.candidate_tasks()
        return self._among([self(x, torch.full((len(x),), task)) for task in tasks], tasks)

    def on_train_start(self) -> None:
        """Notes what a step must not move: which entries these are, stays so in a round."""
        self._held = {name: p.detach().clone() for name, p in self.weights().items()}
        self._moves = self.trained()

    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        super().end_task(visit, loader)
        self._held, self._moves = {}, {}

    @torch.no_grad()
    def after_step(self) -> None:
        for name, p in self.weights().items():
            p.copy_(torch.where(self._moves[name], p, self._held[name]))
