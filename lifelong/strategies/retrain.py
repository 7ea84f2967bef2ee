"""A lifelong ticket trained once more, from given weights, under a given mask, at a given task.

Chen, Zhang, Liu, Chang, Wang, "Long Live the Lottery: The Existence of Winning Tickets in Lifelong
Learning", ICLR 2021, as its released program verifies tickets.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch.utils.data import DataLoader

from lifelong.data import Batch, Task, Visit
from lifelong.data.unlabeled import Origin
from lifelong.networks import TwoBranchNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.earlier_run import EarlierRun
from lifelong.parts.masks import Masks
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Rounds
from lifelong.strategies.tickets import Tickets


class Retrain(Tickets):
    """Trains the last task of a stream as another run did, but under a mask of one's choice.

    The exemplars, and what is taught on unlabeled images, are those of that run.

    Args:
        network: see `CIL`.
        optimizer: see `Strategy`.
        run: folder of a run of `TicketsTD`, `TicketsBU`, or `CIL` for all but mask and weights;
            it must have learned the same tasks of the same images, and hold the checkpoint of the
            last one (`keep=all` has all).
        visit: of that run; its task is trained.
        mask: `run` for the mask that it found for the last task, or a file of a ticket, or of masks
            as `torch.nn.utils.prune` and the released program leave them.
        start: `first` for the run's very first weights, heads and batch-norm included; `before` for
            those from which its ticket started (bottom-up: the dense network before the task); or
            a file: of a ticket, from where that one started, or a state dict.
        unlabeled: what the run learned from.
        schedule, batch_size and temperature: see `CIL`.

    Raises:
        ValueError: files that are missing or do not fit.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import Retrain, MultiHead, TwoBranchNetwork, convnet
    >>> body = partial(convnet, (1, 8, 8), [4, 8], [2, 2])
    >>> network = TwoBranchNetwork(body, MultiHead)
    >>> method = Retrain(network, partial(SGD, lr=0.1), batch_size=64, run="outputs/first", visit=2)
    >>> method.method["retrained"]["mask"]
    'run'
    """

    divides: ClassVar[bool] = True

    def __init__(
        self,
        network: TwoBranchNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        batch_size: int,
        run: str,
        visit: int,
        mask: str = "run",
        start: str = "first",
        unlabeled: str | Origin = "none",
        temperature: float = 2.0,
    ) -> None:
        super().__init__(
            network, optimizer, schedule, batch_size=batch_size, unlabeled=unlabeled,
            temperature=temperature,
        )  # fmt: skip
        self.earlier = EarlierRun(run, visit, mask, start)
        self.method["retrained"] = {
            "run": str(run), "visit": visit, "mask": mask, "start": start
        }  # fmt: skip

    def check(self, tasks: Sequence[Task]) -> None:
        super().check(tasks)
        run = self.earlier
        run.open(tasks)
        self.taught.used = set(run.taught["used"])
        told, own = run.state["method"]["unlabeled"], self.method["unlabeled"]
        if told != own:
            raise ValueError(f"unlabeled: {own}; the run in {run.folder} learned from {told}")
        run.check_shapes(self.network.state_dict(), Masks(self.prunable()))

    def rounds(self, visit: Visit) -> Rounds:
        if not visit.is_last:
            return
        self.kept.set_extra_state(self.earlier.kept)
        self.taught.now = self.earlier.taught["before"]
        self.take(self.earlier.weights)
        self.masks.unpack(self.earlier.found)
        self.masks.hold(self.prunable())
        self.start, self.start_mask = self.state(), self.masks.packed()
        yield self._round(visit)
        self._note(visit)

    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        """Earlier tasks leave nothing behind: the exemplars are the run's."""
        if visit.is_last:
            super().end_task(visit, loader)
