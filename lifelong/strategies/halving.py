"""A penalty's strength, and how it is halved until a task is learned well enough.

De Lange et al., "A Continual Learning Survey: Defying Forgetting in Classification Tasks", TPAMI
2021, choose the strength of EWC, MAS and SI like this, with a share of 0.8.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from lifelong.data import Visit
from lifelong.networks import TaskNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.copies import put_back, tensors_of
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Round, Rounds, Strategy

ATTEMPTS = 10  # to learn a task with ever smaller strength


class Halving(Strategy):
    """Learns under a penalty, with `halve_below` first without it and then in several attempts.

    Args:
        network: see `Strategy`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        strength: of the penalty.
        halve_below: from the second task on, learn without the penalty first, then with it, each
            time from where the task began, and halve the strength until the validation accuracy is
            at least this share of the first one's, ten times at most; the strength is kept for
            later tasks. 0: never.

    Raises:
        ValueError: a value out of range.
    """

    def __init__(
        self,
        network: TaskNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        strength: float = 1.0,
        halve_below: float = 0.0,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if strength < 0:
            raise ValueError(f"strategy.strength={strength}: must not be negative")
        if not 0 <= halve_below <= 1:
            raise ValueError(f"strategy.halve_below={halve_below}: give a share from 0 to 1")
        if halve_below:
            self.refuses = {
                **self.refuses,
                "optimizer_lifetime": "with strategy.halve_below each attempt has a new optimizer",
                "online": "with strategy.halve_below it trains several times on a task",
            }
        self.halve_below, self.needs_validation = halve_below, halve_below > 0
        self.strength = strength
        self._free = False  # while a task is learned without the penalty
        self._start: dict[str, Tensor] = {}  # the network as the task began

    @property
    def penalty_active(self) -> bool:
        """Whether there is something to hold to: after the first task."""
        return self.visit > 1 and len(self.classes) > 1 and self.strength > 0 and not self._free

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        if self.halve_below:
            self._start = tensors_of(self.network)

    def rounds(self, visit: Visit) -> Rounds:
        if not self.halve_below or not self.penalty_active:
            yield Round()
            return
        self._free = True
        metrics = yield Round("without penalty")
        self._free, wanted = False, self.halve_below * metrics["val/best"]
        for attempt in range(ATTEMPTS):
            self.restart_task()
            metrics = yield Round(f"attempt {attempt + 1}")
            self.method.setdefault("strengths", {})[str(visit.number)] = self.strength
            if metrics["val/best"] >= wanted:
                return
            self.strength /= 2

    def restart_task(self) -> None:
        """Puts network and schedule back to where the task began."""
        self.scheduled = self.began
        put_back(self.network, self._start)

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "strength": self.strength, "start": self._start}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self.strength, self._start = state["strength"], state["start"]
