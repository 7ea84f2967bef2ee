"""Lifelong tickets from the top down: the network is pruned a little more with every task.

Chen, Zhang, Liu, Chang, Wang, "Long Live the Lottery: The Existence of Winning Tickets in Lifelong
Learning", ICLR 2021. What is left of a task's network is rewound, and the next task is learned
under the mask.

Departures from the released program: weights are ranked as the last epoch left them (there the
first ranking of a stage is by stale ones); each pruning round has an optimizer of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from lifelong.backbones.backbone import initialize
from lifelong.data import Task, Visit
from lifelong.data.unlabeled import Origin
from lifelong.networks import TwoBranchNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.masks import Ranking
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Rounds
from lifelong.strategies.tickets import Tickets

SHARE = 0.2  # that goes in a pruning
Pruning = Sequence[Sequence[float]] | Sequence[int]
PRESETS: dict[str, Pruning] = {
    "release": [1, 1, 2, 3, 5],
    "paper_cifar10": [1, 1, 3, 4, 5],
    "paper_cifar100": [[SHARE]] * 9 + [[SHARE, 0.1]],
}


class TicketsTD(Tickets):
    """Class-incremental learning of ever sparser networks.

    After a task's training: its last epoch's weights are pruned and trained on in turn, pruned
    once more and rewound; then the next task is trained under the mask, or, after the last one,
    the last task again. Before the next task is trained the network of the best epoch is measured
    and teaches; after the last task also the network before its pruning is measured.

    Args:
        network: see `CIL`.
        optimizer: see `Strategy`.
        pruning: for each visit of the stream how often 20 % of the weights left go, as in the
            released program's 1,1,2,3,5; or a list of the shares that go, one after the other; or
            a preset, `release`, `paper_cifar10` or `paper_cifar100`. More than there are visits do
            no harm; where tasks come again and lists run out, the last one is used.
        rewind: what the weights left of convolutions become: `zero`, as at the very first; `late`,
            as after the first `rewind_epoch` epochs of the first task (Frankle et al. 2019);
            `best`, as in the best epoch of the task; `rand`, drawn anew; `none`, as they are.
        rewind_epoch: see `late`.
        round_epochs: of the training between two prunings, at a hundredth of the rate.
        ranking, keep_rounds: see `Tickets`.
        schedule, batch_size, memory, exemplars, unlabeled, neighbours, max_unlabeled and
            temperature: see `CIL`.

    Raises:
        ValueError: shares out of range.
    """

    acts_with: ClassVar[dict[str, str]] = Tickets.acts_with | {"rewind_epoch": "rewind=late"}

    def __init__(
        self,
        network: TwoBranchNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        batch_size: int,
        pruning: str | Pruning = "release",
        rewind: Literal["zero", "late", "best", "rand", "none"] = "zero",
        rewind_epoch: int = 1,
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
        self.pruning = shares_of(pruning)
        if rewind_epoch < 1:
            raise ValueError(f"strategy.rewind_epoch={rewind_epoch}: give 1 or more")
        self.rewind, self.rewind_epoch = rewind, rewind_epoch
        self._late: dict[str, Tensor] = {}  # convolutions after `rewind_epoch`
        self._last: dict[str, Tensor] = {}  # the network as the last epoch left it
        self._start_before: dict[str, Tensor] = {}  # `start` of the ticket before
        self._best: dict[str, Tensor] = {}  # convolutions of the best epoch
        self._whole: dict[str, Tensor] = {}  # the last task's network before it is pruned
        self._looks_back = False  # while the task before is pruned
        self._visits: list[Visit] = []

    def check(self, tasks: Sequence[Task]) -> None:
        super().check(tasks)
        if len(self.pruning) < len(tasks):
            raise ValueError(
                f"strategy.pruning: has shares for {len(self.pruning)} tasks; give one list for "
                f"each of the {len(tasks)} tasks, or a preset: {', '.join(PRESETS)}"
            )

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        learns_first = len(self._visits) == 1 and not self.tickets
        if self.rewind == "late" and learns_first and self.current_epoch + 1 == self.rewind_epoch:
            self._late = {name: p.detach().clone() for name, p in self.prunable().items()}

    def begin_task(self, visit: Visit) -> None:
        self._visits = [past for past in self._visits if past.number < visit.number]
        super().begin_task(visit)
        self._visits.append(visit)

    def rounds(self, visit: Visit) -> Rounds:
        if len(self._visits) > 1:
            yield from self._pruned(self._visits[-2])
            self._set_current(visit, list(self.classes))
        yield self._round(visit)
        if visit.is_last:
            self._whole = self.state()
            yield from self._pruned(visit)
            yield self._round(visit)

    def _pruned(self, visit: Visit) -> Rounds:
        """Prunes in rounds on the images of a task just learned, and rewinds."""
        now = visit.number == self._visits[-1].number  # after the last task it is the current one
        if not now:
            self._looks_back = True
            self._set_current(visit, self._known(visit))
        self._best = {name: p.detach().clone() for name, p in self.prunable().items()}
        self.take(self._last)
        rates = list(self.pruning[min(visit.number, len(self.pruning)) - 1])
        for number, rate in enumerate(rates, 1):
            self._prune(visit, rate)
            if number < len(rates):
                yield self._pruning_round(visit, f"pruning {number} of {len(rates)}")
        self._rewind()
        self._note(visit)
        self.scheduled = self.began  # the schedule begins anew
        self._looks_back = False
        self._start_before, self.start = self.start, self.state()
        self.start_mask = self.masks.packed()

    def ticket_of(self, number: int) -> dict[str, Any] | None:
        """Mask, start and trained weights of the ticket that was found for a visit.

        And `measured`: the key of the results under which its accuracies stand.

        Those of the current visit, if it is the last one, and of the visit before; None for others:
        a ticket is found, and trained, when the next visit begins.
        """
        newest = max(map(int, self.tickets), default=0)
        if number == newest:
            start, weights, measured = self.start, self.state(), "accuracy"
        elif number == newest - 1 and newest == self._visits[-1].number:  # the stream is through
            start, weights = self._start_before, self._whole
            measured = "accuracy_before_pruning"
        else:
            return None
        mask = self.tickets[str(number)]
        return {"mask": mask, "start": start, "weights": weights, "measured": measured}

    @property
    def teacher(self) -> dict[str, Any]:
        return self.taught.before if self._looks_back else self.taught.now

    def _known(self, visit: Visit) -> list[int]:
        """The seen tasks until a visit, in the order in which they came."""
        met = dict.fromkeys(past.task.index for past in self._visits if past.number <= visit.number)
        return list(met)

    @torch.no_grad()
    def _rewind(self) -> None:
        if self.rewind == "late" and not self._late:
            raise ValueError(
                f"strategy.rewind_epoch={self.rewind_epoch}: the first task was learned in fewer "
                "epochs; give one of them"
            )
        for name, p in self.prunable().items():
            if self.rewind == "zero":
                p.copy_(self.first[f"body.{name}"])
            elif self.rewind == "late":
                p.copy_(self._late[name])
            elif self.rewind == "best":
                p.copy_(self._best[name])
            elif self.rewind == "rand":
                fresh = torch.empty(p.shape)  # on the CPU, so that all devices draw the same
                initialize(fresh, torch.empty(len(p)), "uniform")
                p.copy_(fresh)
        self._best = {}
        self.masks.hold(self.prunable())

    def auxiliary_networks(self) -> Iterator[str]:
        if self._whole:
            with self._as(self._whole):
                yield "before_pruning"

    def on_train_end(self) -> None:
        """Keeps the last epoch's network, before the best one is put back."""
        self._last = self.state()

    def _kept(self) -> tuple[str, ...]:
        return *super()._kept(), "_last", "_best", "_whole", "_start_before", "_late"


def shares_of(pruning: str | Pruning) -> list[list[float]]:
    """For each visit the shares that go, see `TicketsTD`.

    >>> shares_of("1,2")
    [[0.2], [0.2, 0.2]]

    Raises:
        ValueError: neither a preset, nor counts, nor shares.
    """
    given: Any = PRESETS.get(pruning, pruning) if isinstance(pruning, str) else pruning
    if isinstance(given, str):
        counts = given.replace(" ", "").split(",")
        if not all(count.isdigit() for count in counts):
            raise ValueError(
                f"strategy.pruning={pruning}: give {', '.join(PRESETS)}, how often 20 % go after "
                "each task, as [1,1,2,3,5], or lists of shares"
            )
        given = [int(count) for count in counts]
    rounds = [[SHARE] * rates if isinstance(rates, int) else list(rates) for rates in given]
    if any(not 0 <= rate < 1 for rates in rounds for rate in rates):
        raise ValueError(f"strategy.pruning={pruning}: give shares from 0 to below 1")
    return rounds
