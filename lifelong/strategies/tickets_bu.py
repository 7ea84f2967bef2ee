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

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar, Unpack

from torch import Tensor
from torch.utils.data import DataLoader

from lifelong.data import Batch, Visit
from lifelong.networks import TwoBranchNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.copies import standing_in
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.pruning_rounds import PruningOptions, PruningRounds, points
from lifelong.strategies.strategy import Round, Rounds


class TicketsBU(PruningRounds):
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
        schedule: see `Strategy`.
        accept_drop: points.
        retrain: train the ticket anew under a mask that was found or grew; else it is the network
            of the pruning rounds as it was under that mask.
        **options: of `PruningRounds`, `Tickets` and `CIL`.

    Raises:
        ValueError: a value out of range.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import TicketsBU, MultiHead, TwoBranchNetwork, convnet
    >>> body = partial(convnet, (1, 8, 8), [4, 8], [2, 2])
    >>> network = TwoBranchNetwork(body, MultiHead)
    >>> method = TicketsBU(network, partial(SGD, lr=0.1), batch_size=64, prune_fraction=0.5)
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> visit = stream.visits[0]
    >>> method.begin_task(visit)
    >>> next(method.rounds(visit)).name
    'dense'
    """

    divides: ClassVar[bool] = True

    def __init__(
        self,
        network: TwoBranchNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        accept_drop: float = 1.0,
        retrain: bool = True,
        **options: Unpack[PruningOptions],
    ) -> None:
        super().__init__(network, optimizer, schedule, **options)
        self.accept_drop, self.retrain = accept_drop, retrain
        self._dense: dict[str, Tensor] = {}

    def rounds(self, visit: Visit) -> Rounds:
        self.take(self._dense)
        self.start, self.start_mask = self.state(), {}
        self._under(None)
        metrics = yield self._training(visit, "dense")
        self._dense, wanted = self.state(), self.judge.accuracy(metrics)
        self._told(visit)["dense"] = wanted
        first = visit.number == 1
        grows = first
        if not first:
            self._begin_ticket()
            metrics = yield self._training(visit, "ticket")
            accuracy = self.judge.accuracy(metrics)
            grows = points(wanted - accuracy) >= self.accept_drop
            self._told(visit).update(ticket=accuracy, regrown=grows)
        if grows:
            self.take(self._dense)
            self._under(None)
            yield from self._shrunk(visit, wanted) if first else self._regrown(visit, wanted)
            if self.retrain:
                self._begin_ticket()
                metrics = yield self._training(visit, "retrained ticket")
                self._told(visit)["retrained"] = self.judge.accuracy(metrics)
            else:
                self._under(self.ticket)
                self.best = None  # no epoch is that of this mask
        self._note(visit)

    def _training(self, visit: Visit, name: str) -> Round:
        self.scheduled = self.began  # the schedule begins anew
        score_on = self._judging() if self.judge.part == "test" else None
        return replace(self._round(visit), name=name, score_on=score_on)

    def _begin_ticket(self) -> None:
        """The dense network before the task, or the very first one, under the ticket's mask."""
        self.take(self.start)
        self._under(self.ticket)

    def auxiliary_networks(self) -> Iterator[str]:
        with standing_in(self.network, self._dense):
            yield "dense"

    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        """Exemplars and what is taught come from the dense network."""
        with standing_in(self.network, self._dense):
            super().end_task(visit, loader)

    def _kept(self) -> tuple[str, ...]:
        return *super()._kept(), "_dense"
