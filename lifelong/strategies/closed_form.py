"""Classifiers that follow from the features of a body that stays: no step is taken for them."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lifelong.data import Batch, Visit
from lifelong.measures import Prediction
from lifelong.networks import Network
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Round, Rounds, Strategy


class ClosedForm(Strategy):
    """Learns from all features of a task at once, after it; the order of tasks does not matter.

    Args:
        network: whose body makes the features.
        optimizer: see `Strategy`; without `adapt_first` nothing is asked of it.
        schedule: see `Strategy`.
        adapt_first: train body and head on the first task by cross-entropy (first-session
            adaptation); the body then stays.

    Attributes:
        numbers: class numbers that were learned, in the order of the scores.
    """

    learns_at_the_end: ClassVar[bool] = True
    network: Network

    def __init__(
        self,
        network: Network,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        adapt_first: bool = False,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        self.adapt_first = adapt_first
        self.numbers: list[int] = []
        self._done: list[int] = []  # tasks that were learned

    def learn(self, features: Tensor, labels: Tensor) -> None:
        """Takes what a task shows.

        Args:
            features: (n, f).
            labels: (n,), places in `numbers`.
        """
        raise NotImplementedError

    def scores(self, features: Tensor) -> Tensor:
        """Of all classes learned, (b, f) -> (b, c)."""
        raise NotImplementedError

    def rounds(self, visit: Visit) -> Rounds:
        if self.adapt_first and visit.number == 1:
            yield Round()

    @torch.no_grad()
    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        super().end_task(visit, loader)
        if visit.task.index in self._done:  # its images are known
            return
        self.eval()
        found, classes = [], []
        for batch in loader:
            found.append(self.network.body(batch.x))
            classes.append(self.class_of(batch))
        numbers = torch.cat(classes)
        self.numbers += sorted(set(numbers.tolist()) - set(self.numbers))
        known = torch.tensor(self.numbers, device=numbers.device)
        ordered, order = known.sort()
        self.learn(torch.cat(found), order[torch.searchsorted(ordered, numbers)])
        self._done.append(visit.task.index)
        self.train()

    def predict(self, x: Tensor, t: Tensor | None = None) -> Prediction:
        if not self.numbers:  # nothing is known yet
            return super().predict(x, t)
        return self.answer_by_class(self.of_features(x, self.scores), self.numbers, t)

    def supports_class_incremental(self) -> bool:
        return True

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "numbers": self.numbers, "done": self._done}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self.numbers, self._done = list(state["numbers"]), list(state["done"])
