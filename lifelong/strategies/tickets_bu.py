"""Lifelong tickets from the bottom up: a very sparse mask that grows where a task asks for it.

Chen, Zhang, Liu, Chang, Wang, "Long Live the Lottery: The Existence of Winning Tickets in Lifelong
Learning", ICLR 2021. A dense network learns the stream as in `CIL`. The first task's is pruned in
rounds as far as it bears. A later task's ticket is the dense network before that task under the
mask; where it falls behind, positions are added to the mask, found by pruning the dense network
everywhere else.

Departures from the released program: accuracies that decide are of validation images, unless
`decide_on=test`; a mask that grew is trained once more, and that ticket is measured.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lifelong.data import Batch, Images, Task, Visit
from lifelong.data.unlabeled import Origin
from lifelong.networks import TwoBranchNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.masks import Masks, Ranking
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Round, Rounds
from lifelong.strategies.tickets import Tickets


class TicketsBU(Tickets):
    """Class-incremental learning of sparse networks beside a dense one.

    With A the accuracy of the dense network on the classes of all seen tasks, a that of the ticket
    or of the network in a pruning round (its best epoch), in percentage points:

    - after the first task rounds of pruning end where A - a reaches `stop_drop` and `base_sparsity`
      is reached, or after `most_rounds`; the last pruning is taken back;
    - after a later one the mask is kept where A - a is below `accept_drop`. Else the positions
      outside the mask of the dense network are pruned in rounds, up to the same end, and what is
      left of them joins the mask.

    The dense network teaches, and is measured beside the ticket (`accuracy_dense` of the results).

    Args:
        network: see `CIL`.
        optimizer: see `Strategy`.
        prune_fraction: share of the weights left that goes in a round, in (0, 1).
        most_rounds: prunings that are kept at most.
        stop_drop: points.
        accept_drop: points.
        base_sparsity: percentage of all weights that must be gone before accuracy ends the rounds.
        retrain: train the ticket anew under a mask that was found or grew; else it is the network
            of the pruning rounds as it was under that mask.
        decide_on: images of which A and a are: `val`, or `test` as in the released program, for
            comparison with it alone.
        round_epochs: of a round, at a hundredth of the rate.
        ranking, keep_rounds: see `Tickets`.
        schedule, batch_size, memory, exemplars, unlabeled, neighbours, max_unlabeled and
            temperature: see `CIL`.

    Raises:
        ValueError: a value out of range.
    """

    def __init__(
        self,
        network: TwoBranchNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        batch_size: int,
        prune_fraction: float = 0.2,
        most_rounds: int = 26,
        stop_drop: float = 2.0,
        accept_drop: float = 1.0,
        base_sparsity: float = 90.0,
        retrain: bool = True,
        decide_on: Literal["val", "test"] = "val",
        round_epochs: int = 30,
        ranking: Ranking = "magnitude",
        keep_rounds: bool = False,
        memory: int = 100,
        exemplars: str = "random",
        unlabeled: str | Origin = "none",
        neighbours: int = 50,
        max_unlabeled: int | None = None,
        temperature: float = 2.0,
    ) -> None:
        super().__init__(
            network, optimizer, schedule, round_epochs=round_epochs, ranking=ranking,
            keep_rounds=keep_rounds, batch_size=batch_size, memory=memory, exemplars=exemplars,
            unlabeled=unlabeled, neighbours=neighbours, max_unlabeled=max_unlabeled,
            temperature=temperature,
        )  # fmt: skip
        if not 0 < prune_fraction < 1:
            raise ValueError(
                f"strategy.prune_fraction={prune_fraction}: give a share between 0 and 1"
            )
        if most_rounds < 1:
            raise ValueError(f"strategy.most_rounds={most_rounds}: give 1 or more")
        if not 0 <= base_sparsity <= 100:
            raise ValueError(f"strategy.base_sparsity={base_sparsity}: give a percentage, 0 to 100")
        self.prune_fraction, self.most_rounds = prune_fraction, most_rounds
        self.stop_drop, self.accept_drop = stop_drop, accept_drop
        self.base_sparsity, self.retrain, self.decide_on = base_sparsity, retrain, decide_on
        self.needs_validation = True
        self.ticket = Masks(self.prunable())  # what was found so far
        self._dense: dict[str, Tensor] = {}
        self._snapshot: dict[str, Any] = {}  # mask and network before the last pruning
        self.method |= {"decide_on": decide_on, "decisions": {}}

    def check(self, tasks: Sequence[Task]) -> None:
        super().check(tasks)
        empty = [task.name for task in tasks if not len(self._judges(task))]
        if empty:
            raise ValueError(
                f"strategy.decide_on={self.decide_on}: {empty[0]} has no such images; give a "
                "larger data.validation"
            )

    def rounds(self, visit: Visit) -> Rounds:
        self.take(self._dense)
        self.start, self.start_mask = self.state(), {}
        self._under(None)
        metrics = yield self._training(visit, "dense")
        self._dense, wanted = self.state(), self._accuracy(metrics)
        self._told(visit)["dense"] = wanted
        first = visit.number == 1
        grows = first
        if not first:
            self._begin_ticket()
            metrics = yield self._training(visit, "ticket")
            accuracy = self._accuracy(metrics)
            grows = _points(wanted - accuracy) >= self.accept_drop
            self._told(visit).update(ticket=accuracy, regrown=grows)
        if grows:
            self.take(self._dense)
            self._under(None)
            yield from self._found(visit, wanted) if first else self._regrown(visit, wanted)
            if self.retrain:
                self._begin_ticket()
                metrics = yield self._training(visit, "retrained ticket")
                self._told(visit)["retrained"] = self._accuracy(metrics)
            else:
                self._under(self.ticket)
                self.best = None  # no epoch is that of this mask
        self._note(visit)

    def _told(self, visit: Visit) -> dict[str, Any]:
        """What is reported of a task; asked for anew after every round, as a resumed run has it."""
        told: dict[str, Any] = self.method["decisions"].setdefault(str(visit.number), {})
        return told

    def _found(self, visit: Visit, wanted: float) -> Rounds:
        """Prunes the dense network in rounds; what was before the last pruning is the ticket."""
        for number in range(1, self.most_rounds + 2):
            self._keep()
            self._prune(visit, self.prune_fraction)
            if number > self.most_rounds:
                break
            drop, metrics = yield from self._pruning(visit, number, wanted)
            sparsity = self._sparsity()
            if _decided(metrics, drop >= self.stop_drop and sparsity >= self.base_sparsity):
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
            if _decided(metrics, drop > self.stop_drop and sparsity > self.base_sparsity):
                break
            self._keep()
            self._prune(visit, self.prune_fraction, self.ticket)
            sparsity, name = self._sparsity(), "ends_untrained"
            if _decided(metrics, drop >= self.stop_drop and sparsity >= self.base_sparsity, name):
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
        drop = _points(wanted - accuracy)
        if drop >= self.stop_drop:
            self._told(visit).setdefault("accuracy_fell_in_round", number)
        return drop, metrics

    def _sparsity(self) -> float:
        return 100 * (1 - self.masks.remaining())

    def _training(self, visit: Visit, name: str) -> Round:
        self.scheduled = self.began  # the schedule begins anew
        score_on = self._judging() if self.decide_on == "test" else None
        return replace(self._round(visit), name=name, score_on=score_on)

    def _accuracy(self, metrics: dict[str, float]) -> float:
        if self.decide_on == "test":
            return metrics["score"]
        last = metrics.get("val/accuracy", metrics["val/best"])
        return metrics.get("val/restored", last)  # of the network that is carried on

    def _judging(self) -> Images:
        """Images that decide, of all seen tasks."""
        return Images.joined([self._judges(self._met[index]) for index in self._tasks])

    def _judges(self, task: Task) -> Images:
        return task.test if self.decide_on == "test" else task.val

    def _begin_ticket(self) -> None:
        """The dense network before the task, or the very first one, under the ticket's mask."""
        self.take(self.start)
        self._under(self.ticket)

    @torch.no_grad()
    def _under(self, masks: Masks | None) -> None:
        """Puts a mask in force; None for none."""
        flat = self.masks.flat()
        self.masks.set_flat(torch.ones_like(flat) if masks is None else masks.flat())
        self.masks.hold(self.prunable())

    def auxiliary_networks(self) -> Iterator[str]:
        with self._as(self._dense):
            yield "dense"

    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        """Exemplars and what is taught come from the dense network."""
        with self._as(self._dense):
            super().end_task(visit, loader)

    def _kept(self) -> tuple[str, ...]:
        return *super()._kept(), "_dense", "_snapshot"


def _decided(metrics: dict[str, float], ends: bool, name: str = "ends") -> bool:
    """Whether rounds end after one; kept with its metrics, from which a resumed run replays it."""
    return bool(metrics.setdefault(name, float(ends)))


def _points(share: float) -> float:
    return round(100 * share, 9)
