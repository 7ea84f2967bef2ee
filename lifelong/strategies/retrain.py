"""A lifelong ticket trained once more, from given weights, under a given mask, at a given task.

Chen, Zhang, Liu, Chang, Wang, "Long Live the Lottery: The Existence of Winning Tickets in Lifelong
Learning", ICLR 2021, as its released program verifies tickets.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from lifelong.data import Batch, Task, Visit
from lifelong.data.unlabeled import Origin
from lifelong.networks import TwoBranchNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.masks import Masks, kept_entries
from lifelong.parts.ticket import load_ticket
from lifelong.storage.checkpoint import Checkpoint, finished_visits, read
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
    """

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
        self.run, self.run_visit = Path(run).expanduser(), visit
        self.mask, self.begins = mask, start
        self._of_run: dict[str, Any] = {}
        self._start_mask: dict[str, Any] = {}  # of the weights to start from; empty for all
        self.method["retrained"] = {
            "run": str(run), "visit": visit, "mask": mask, "start": start
        }  # fmt: skip

    def check(self, tasks: Sequence[Task]) -> None:
        super().check(tasks)
        there = finished_visits(self.run)
        if len(tasks) != self.run_visit:
            raise ValueError(
                f"strategy.visit={self.run_visit}: the stream has {len(tasks)} tasks; give tasks="
                f"{self.run_visit}, which is the default, and no data.order"
            )
        if self.run_visit not in there:
            raise ValueError(
                f"strategy.run={self.run}: holds no checkpoint of {tasks[-1].name}, only of the "
                f"visits {', '.join(map(str, there)) or 'none'}; runs with keep=all have them all"
            )
        saved = read(there[self.run_visit])
        self._of_run = saved.strategy["_extra_state"]
        self._of_run |= {
            part: saved.strategy.get(f"{part}._extra_state") for part in ("kept", "taught")
        }
        if None in (self._of_run["kept"], self._of_run["taught"]):
            raise ValueError(
                f"strategy.run={self.run}: holds no exemplars as this version keeps them; give a "
                "run of cil, tickets_td or tickets_bu of this version"
            )
        known = [entry["tasks"][0]["classes"] for entry in saved.visits]
        if known != [task.classes for task in tasks]:
            raise ValueError(f"strategy.run={self.run}: learned other tasks, {known}")
        for task in tasks:
            if self._of_run["kept"]["checksums"][task.index] != task.train.checksum():
                raise ValueError(
                    f"strategy.run={self.run}: had other training images for {task.name}; give its "
                    "data options and seeds"
                )
        self.taught.used = set(self._of_run["taught"]["used"])
        told, own = self._of_run["method"]["unlabeled"], self.method["unlabeled"]
        if told != own:
            raise ValueError(f"unlabeled: {own}; the run in {self.run} learned from {told}")
        newest = max(there)
        self._found = self._mask(saved if self.run_visit == newest else read(there[newest]))
        self._first = self._weights()
        self._check_shapes()

    def _check_shapes(self) -> None:
        """Refuses masks and weights of another network."""
        own = self.network.state_dict()
        for name, value in own.items():
            if name not in self._first or self._first[name].shape != value.shape:
                raise ValueError(
                    f"backbone: strategy.start={self.begins} has other weights, {name} differs; "
                    f"give the backbone of {self.run}"
                )
        try:
            Masks(self.prunable()).unpack(self._found)
        except ValueError as error:
            raise ValueError(f"strategy.mask={self.mask}: {error}") from None
        if self._start_mask:
            there = kept_entries(self._start_mask)
            wanted = kept_entries(self._found)
            bare = sum(int((kept & ~there[name]).sum()) for name, kept in wanted.items())
            if bare:
                raise ValueError(
                    f"strategy.start={self.begins}: has no weights for {bare} of the "
                    f"{self._found['kept']} that strategy.mask={self.mask} keeps, which would "
                    "begin at zero; give first, or a start whose mask holds that one"
                )

    def _mask(self, newest: Checkpoint) -> dict[str, Any]:
        if self.mask != "run":
            return load_ticket(self.mask).mask
        found = newest.strategy["_extra_state"].get("tickets", {})
        if str(self.run_visit) not in found:
            raise ValueError(
                f"strategy.mask=run: {self.run} found no mask for visit {self.run_visit}; give the "
                "file of a ticket, or a run of tickets_td or tickets_bu that has gone further"
            )
        mask: dict[str, Any] = found[str(self.run_visit)]
        return mask

    def _weights(self) -> dict[str, Tensor]:
        if self.begins not in ("first", "before"):
            ticket = load_ticket(self.begins)
            if ticket.tasks and len(ticket.tasks) < self.run_visit:
                raise ValueError(
                    f"strategy.start={self.begins}: is a ticket of visit {len(ticket.tasks)}; give "
                    f"one of visit {self.run_visit} or later"
                )
            if not ticket.start:
                raise ValueError(f"strategy.start={self.begins}: holds masks and no weights")
            self._start_mask = ticket.start_mask
            return ticket.start
        if self.begins == "before":
            self._start_mask = self._of_run.get("start_mask", {})
        key = "first" if self.begins == "first" else "start"
        tensors: dict[str, Tensor] = self._of_run.get(key, {})
        if not tensors:
            raise ValueError(
                f"strategy.start={self.begins}: {self.run} keeps no such weights; give first, "
                "before, or the file of a ticket"
            )
        return tensors

    def rounds(self, visit: Visit) -> Rounds:
        if not visit.is_last:
            return
        self.kept.set_extra_state(self._of_run["kept"])
        self.taught.now = self._of_run["taught"]["before"]
        self.take(self._first)
        self.masks.unpack(self._found)
        self.masks.hold(self.prunable())
        self.start, self.start_mask = self.state(), self.masks.packed()
        yield self._round(visit)
        self._note(visit)

    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        """Earlier tasks leave nothing behind: the exemplars are the run's."""
        if visit.is_last:
            super().end_task(visit, loader)
