"""What a run of lifelong tickets left, to train one of its tickets once more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from lifelong.data import Task
from lifelong.parts.masks import Masks, kept_entries
from lifelong.parts.ticket import load_ticket
from lifelong.storage.checkpoint import LEARNED, finished_visits, read


class EarlierRun:
    """The state of a run after a visit; nothing is read before `open`.

    Args:
        folder: of the run.
        visit: its number.
        mask: `run` for the mask that the run found, or a file, see `load_ticket`.
        start: `first`, `before`, or a file: where the weights to start from are.

    Attributes:
        state: of the method after the visit, see `Strategy.get_extra_state`.
        kept, taught: of its parts `kept` and `taught`.
        found: the mask, see `Masks.packed`.
        weights: to start from, by name.
        start_mask: what `weights` has of the kernels, see `Masks.packed`; empty for all.
    """

    def __init__(self, folder: str, visit: int, mask: str, start: str) -> None:
        self.folder, self.visit = Path(folder).expanduser(), visit
        self.mask, self.start = mask, start
        self.state: dict[str, Any] = {}
        self.kept: dict[str, Any] = {}
        self.taught: dict[str, Any] = {}
        self.found: dict[str, Any] = {}
        self.weights: dict[str, Tensor] = {}
        self.start_mask: dict[str, Any] = {}

    def open(self, tasks: Sequence[Task]) -> None:
        """Reads the run.

        Args:
            tasks: the stream of today, which must be that of the run.

        Raises:
            ValueError: files that are missing; other tasks or images.
        """
        there = finished_visits(self.folder)
        if len(tasks) != self.visit:
            raise ValueError(
                f"strategy.visit={self.visit}: the stream has {len(tasks)} tasks; give tasks="
                f"{self.visit}, which is the default, and no data.order"
            )
        if self.visit not in there:
            raise ValueError(
                f"strategy.run={self.folder}: holds no checkpoint of {tasks[-1].name}, only of the "
                f"visits {', '.join(map(str, there)) or 'none'}; runs with keep=all have them all"
            )
        saved = read(there[self.visit])
        self.state = saved.strategy.get(LEARNED, {}) | saved.strategy["_extra_state"]
        parts = [saved.strategy.get(f"{part}._extra_state") for part in ("kept", "taught")]
        if None in parts:
            raise ValueError(
                f"strategy.run={self.folder}: holds no exemplars as this version keeps them; give "
                "a run of cil, tickets_td or tickets_bu of this version"
            )
        self.kept, self.taught = (part or {} for part in parts)
        known = [entry["tasks"][0]["classes"] for entry in saved.visits]
        if known != [task.classes for task in tasks]:
            raise ValueError(f"strategy.run={self.folder}: learned other tasks, {known}")
        for task in tasks:
            if self.kept["checksums"][task.index] != task.train.checksum():
                raise ValueError(
                    f"strategy.run={self.folder}: had other training images for {task.name}; give "
                    "its data options and seeds"
                )
        newest = max(there)
        last = saved if self.visit == newest else read(there[newest])
        self.found = self._mask(last.strategy["_extra_state"].get("tickets", {}))
        self.weights = self._weights()

    def check_shapes(self, network: dict[str, Tensor], masks: Masks) -> None:
        """Refuses masks and weights that do not fit.

        Args:
            network: the tensors of today's network, by name.
            masks: of its kernels; they become those of the run.

        Raises:
            ValueError: the option, its value and what would do.
        """
        for name, value in network.items():
            if name not in self.weights or self.weights[name].shape != value.shape:
                raise ValueError(
                    f"backbone: strategy.start={self.start} has other weights, {name} differs; "
                    f"give the backbone of {self.folder}"
                )
        try:
            masks.unpack(self.found)
        except ValueError as error:
            raise ValueError(f"strategy.mask={self.mask}: {error}") from None
        if self.start_mask:
            there, wanted = kept_entries(self.start_mask), kept_entries(self.found)
            bare = sum(int((kept & ~there[name]).sum()) for name, kept in wanted.items())
            if bare:
                raise ValueError(
                    f"strategy.start={self.start}: has no weights for {bare} of the "
                    f"{self.found['kept']} that strategy.mask={self.mask} keeps, which would begin "
                    "at zero; give first, or a start whose mask holds that one"
                )

    def _mask(self, tickets: dict[str, dict[str, Any]]) -> dict[str, Any]:
        if self.mask != "run":
            return load_ticket(self.mask).mask
        if str(self.visit) not in tickets:
            raise ValueError(
                f"strategy.mask=run: {self.folder} found no mask for visit {self.visit}; give the "
                "file of a ticket, or a run of tickets_td or tickets_bu that has gone further"
            )
        return tickets[str(self.visit)]

    def _weights(self) -> dict[str, Tensor]:
        if self.start not in ("first", "before"):
            ticket = load_ticket(self.start)
            if ticket.tasks and len(ticket.tasks) < self.visit:
                raise ValueError(
                    f"strategy.start={self.start}: is a ticket of visit {len(ticket.tasks)}; give "
                    f"one of visit {self.visit} or later"
                )
            if not ticket.start:
                raise ValueError(f"strategy.start={self.start}: holds masks and no weights")
            self.start_mask = ticket.start_mask
            return ticket.start
        if self.start == "before":
            self.start_mask = self.state.get("start_mask", {})
        tensors: dict[str, Tensor] = self.state.get(
            "first" if self.start == "first" else "start", {}
        )
        if not tensors:
            raise ValueError(
                f"strategy.start={self.start}: {self.folder} keeps no such weights; give first, "
                "before, or the file of a ticket"
            )
        return tensors
