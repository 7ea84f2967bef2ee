"""How far a network can be pruned: in rounds, until its accuracy falls behind.

Chen, Zhang, Liu, Chang, Wang, "Long Live the Lottery: The Existence of Winning Tickets in Lifelong
Learning", ICLR 2021.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Unpack

import torch

from lifelong.data import Images, Task, Visit
from lifelong.networks import TwoBranchNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.judge import Judge, Part
from lifelong.parts.masks import Masks
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Round, Rounds
from lifelong.strategies.tickets import Tickets, TicketsOptions


class PruningOptions(TicketsOptions, total=False):
    """Options of `PruningRounds` that a method takes that stands on it."""

    prune_fraction: float
    most_rounds: int
    stop_drop: float
    base_sparsity: float
    decide_on: Part


class PruningRounds(Tickets):
    """`Tickets` that prunes a network round by round, as far as its accuracy bears.

    Rounds end where the accuracy is `stop_drop` points behind what is wanted and `base_sparsity` is
    reached, or after `most_rounds`.

    Args:
        network: see `CIL`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        prune_fraction: share of the weights left that goes in a round, in (0, 1).
        most_rounds: prunings that are kept at most.
        stop_drop: points.
        base_sparsity: percentage of all weights that must be gone before accuracy ends the rounds.
        decide_on: images on which accuracies are taken that decide, see `Judge`.
        **options: of `Tickets` and `CIL`.

    Attributes:
        ticket: the mask that was found so far.
        judge: takes the accuracies that decide.

    Raises:
        ValueError: a value out of range.
    """

    divides: ClassVar[bool] = True

    def __init__(
        self,
        network: TwoBranchNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        prune_fraction: float = 0.2,
        most_rounds: int = 26,
        stop_drop: float = 2.0,
        base_sparsity: float = 90.0,
        decide_on: Part = "val",
        **options: Unpack[TicketsOptions],
    ) -> None:
        super().__init__(network, optimizer, schedule, **options)
        if not 0 < prune_fraction < 1:
            raise ValueError(
                f"strategy.prune_fraction={prune_fraction}: give a share between 0 and 1"
            )
        if most_rounds < 1:
            raise ValueError(f"strategy.most_rounds={most_rounds}: give 1 or more")
        if not 0 <= base_sparsity <= 100:
            raise ValueError(f"strategy.base_sparsity={base_sparsity}: give a percentage, 0 to 100")
        self.prune_fraction, self.most_rounds = prune_fraction, most_rounds
        self.stop_drop, self.base_sparsity = stop_drop, base_sparsity
        self.judge, self.needs_validation = Judge(decide_on), True
        self.ticket = Masks(self.prunable())
        self._snapshot: dict[str, Any] = {}  # mask and network before the last pruning
        self.method |= {"decide_on": decide_on, "decisions": {}}

    def check(self, tasks: Sequence[Task]) -> None:
        super().check(tasks)
        self.judge.check(tasks)

    def _told(self, visit: Visit) -> dict[str, Any]:
        """What is reported of a task; asked for anew after every round, as a resumed run has it."""
        told: dict[str, Any] = self.method["decisions"].setdefault(str(visit.number), {})
        return told

    def _shrunk(self, visit: Visit, wanted: float) -> Rounds:
        """Prunes the dense network in rounds; what was before the last pruning is the ticket."""
        for number in range(1, self.most_rounds + 2):
            self._keep()
            self._prune(visit, self.prune_fraction)
            if number > self.most_rounds:
                break
            drop, metrics = yield from self._pruning(visit, number, wanted)
            sparsity = self._sparsity()
            if decided(metrics, drop >= self.stop_drop and sparsity >= self.base_sparsity):
                break
        self._go_back()

    def _regrown(self, visit: Visit, wanted: float) -> Rounds:
        """Prunes the dense network in rounds where the ticket has no positions; they join it.

        As in the released program, the rounds may also end on a pruning that was not trained.
        """
        self._prune(visit, self.prune_fraction, self.ticket)
        self._keep()
        for number in range(1, self.most_rounds + 1):
            drop, metrics = yield from self._pruning(visit, number, wanted)
            sparsity = self._sparsity()
            if decided(metrics, drop > self.stop_drop and sparsity > self.base_sparsity):
                break
            self._keep()
            self._prune(visit, self.prune_fraction, self.ticket)
            sparsity, name = self._sparsity(), "ends_untrained"
            if decided(metrics, drop >= self.stop_drop and sparsity >= self.base_sparsity, name):
                break
        self._go_back()

    def _keep(self) -> None:
        """Keeps mask and network, to go back to; a checkpoint holds them."""
        self._snapshot = {"mask": self.masks.packed(), "network": self.state()}

    def _go_back(self) -> None:
        """Makes the mask that was kept the ticket's, and the network what it was then."""
        self.ticket.unpack(self._snapshot["mask"])
        self.take(self._snapshot["network"])
        self._snapshot = {}

    def _pruning(
        self, visit: Visit, number: int, wanted: float
    ) -> Generator[Round, dict[str, float], tuple[float, dict[str, float]]]:
        """One round; gives the points by which the network is behind the dense one, and metrics."""
        one = self._pruning_round(visit, f"pruning {number} of at most {self.most_rounds}")
        images = self._judging()
        metrics = yield replace(one, val=images, score_on=images)
        looked = "val/best" in metrics  # unless evaluate_every is larger than the round
        accuracy = metrics["val/best" if looked else "score"]
        left = round(self.masks.remaining(), 6)
        self._told(visit).setdefault("rounds", []).append({"remaining": left, "accuracy": accuracy})
        drop = points(wanted - accuracy)
        if drop >= self.stop_drop:
            self._told(visit).setdefault("accuracy_fell_in_round", number)
        return drop, metrics

    def _sparsity(self) -> float:
        return 100 * (1 - self.masks.remaining())

    def _judging(self) -> Images:
        """Images that decide, of all seen tasks."""
        return self.judge.images([self._met[index] for index in self._tasks])

    @torch.no_grad()
    def _under(self, masks: Masks | None) -> None:
        """Puts a mask in force; None for none."""
        flat = self.masks.flat()
        self.masks.set_flat(torch.ones_like(flat) if masks is None else masks.flat())
        self.masks.hold(self.prunable())

    def _kept(self) -> tuple[str, ...]:
        return *super()._kept(), "_snapshot"


def decided(metrics: dict[str, float], ends: bool, name: str = "ends") -> bool:
    """Whether rounds end after one; kept with its metrics, from which a resumed run replays it."""
    return bool(metrics.setdefault(name, float(ends)))


def points(share: float) -> float:
    """A share in percentage points."""
    return round(100 * share, 9)
