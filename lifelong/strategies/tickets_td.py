"""Lifelong tickets from the top down: the network is pruned a little more with every task.

Chen, Zhang, Liu, Chang, Wang, "Long Live the Lottery: The Existence of Winning Tickets in Lifelong
Learning", ICLR 2021. What is left of a task's network is rewound, and the next task is learned
under the mask.

Departures from the released program: weights are ranked as the last epoch left them (there the
first ranking of a stage is by stale ones); each pruning round has an optimizer of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar, Unpack

from torch import Tensor

from lifelong.data import Images, Task, Visit
from lifelong.networks import TwoBranchNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.copies import standing_in
from lifelong.parts.pruning_schedule import PRESETS, Pruning, shares_of
from lifelong.parts.rewind import Rewind, To
from lifelong.parts.ticket import Found
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Rounds
from lifelong.strategies.tickets import Tickets, TicketsOptions


class TicketsTD(Tickets):
    """Class-incremental learning of ever sparser networks.

    After a task's training: its last epoch's weights are pruned and trained on in turn, pruned
    once more and rewound; then the next task is trained under the mask, or, after the last one,
    the last task again. Before the next task is trained the network of the best epoch is measured
    and teaches; after the last task also the network before its pruning is measured.

    Args:
        network: see `CIL`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        pruning: for each visit of the stream how often 20 % of the weights left go, as in the
            released program's 1,1,2,3,5; or a list of the shares that go, one after the other; or
            a preset, `release`, `paper_cifar10` or `paper_cifar100`. More than there are visits do
            no harm; where tasks come again and lists run out, the last one is used.
        rewind: what the weights left of convolutions become, see `Rewind`.
        rewind_epoch: of `late`.
        **options: of `Tickets` and `CIL`.

    Raises:
        ValueError: shares out of range.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import TicketsTD, MultiHead, TwoBranchNetwork, convnet
    >>> body = partial(convnet, (1, 8, 8), [4, 8], [2, 2])
    >>> network = TwoBranchNetwork(body, MultiHead)
    >>> method = TicketsTD(network, partial(SGD, lr=0.1), batch_size=64, pruning="1,2")
    >>> method.pruning
    [[0.2], [0.2, 0.2]]
    """

    divides: ClassVar[bool] = True
    acts_with: ClassVar[dict[str, str]] = Tickets.acts_with | {"rewind_epoch": "rewind=late"}

    def __init__(
        self,
        network: TwoBranchNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        pruning: str | Pruning = "release",
        rewind: To = "zero",
        rewind_epoch: int = 1,
        **options: Unpack[TicketsOptions],
    ) -> None:
        super().__init__(network, optimizer, schedule, **options)
        self.pruning = shares_of(pruning)
        self.rewind = Rewind(rewind, rewind_epoch)
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
        if len(self._visits) == 1 and not self.tickets:
            self.rewind.after_epoch(self.current_epoch + 1, self.prunable())

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
        first = {name: self.first[f"body.{name}"] for name in self.prunable()}
        self.rewind(self.prunable(), first, self._best)
        self.masks.hold(self.prunable())
        self._best = {}
        self._note(visit)
        self.scheduled = self.began  # the schedule begins anew
        self._looks_back = False
        self._start_before, self.start = self.start, self.state()
        self.start_mask = self.masks.packed()

    def ticket_of(self, number: int) -> Found | None:
        """That of the current visit, if it is the last one, or of the visit before; else None.

        A ticket is found, and trained, when the next visit begins.
        """
        newest = max(map(int, self.tickets), default=0)
        mask = self.tickets.get(str(number), {})
        if number == newest:
            return Found(mask, self.start, self.state(), "accuracy")
        if number == newest - 1 and newest == self._visits[-1].number:  # the stream is through
            return Found(mask, self._start_before, self._whole, "accuracy_before_pruning")
        return None

    @property
    def teacher(self) -> dict[str, Any]:
        return self.taught.before if self._looks_back else self.taught.now

    def _known(self, visit: Visit) -> list[int]:
        """The seen tasks until a visit, in the order in which they came."""
        met = dict.fromkeys(past.task.index for past in self._visits if past.number <= visit.number)
        return list(met)

    def kept_images(self) -> Iterable[Images]:
        """And the training images of the task just learned: the next visit prunes on them."""
        yield from super().kept_images()
        yield from (past.train for past in self._visits[-1:] if not past.is_last)

    def auxiliary_networks(self) -> Iterator[str]:
        if self._whole:
            with standing_in(self.network, self._whole):
                yield "before_pruning"

    def on_train_end(self) -> None:
        """Keeps the last epoch's network, before the best one is put back."""
        self._last = self.state()

    def _kept(self) -> tuple[str, ...]:
        return *super()._kept(), "_last", "_best", "_whole", "_start_before"

    def get_extra_state(self) -> dict[str, Any]:
        return super().get_extra_state() | {"late": self.rewind.late}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self.rewind.late = state.get("late", {})
