"""Checkpoints: one file from which a run goes on, written atomically, loaded without pickles.

`visit_03.ckpt` is written when the third visit of the stream is finished; `partial.ckpt` inside a
visit. A checkpoint holds plain values and tensors only, see `lifelong.storage.packing`. What an
optimizer adds to its state at the end of each task, and never changes again, is written once, into
`history_03.part`; a checkpoint needs all of those that it names to go on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lifelong.storage import locks
from lifelong.storage.files import load, load_error, save
from lifelong.storage.packing import pack, unpack

PARTIAL = "partial.ckpt"
PART = "history_{:02d}.part"
LEARNED = "_learned"  # of the state of a strategy: what the learner itself counts and keeps


@dataclass
class Checkpoint:
    """The state of a run.

    Attributes:
        visit: number of the visit of the stream, from 1.
        finished: whether the visit is finished.
        strategy: state of the strategy, network included.
        record: what was measured.
        rounds: metrics of the finished rounds of an unfinished visit.
        epoch: epochs done of the round after those.
        optimizer: state of its optimizer by parameter name; of a finished visit where the
            optimizer is kept for the whole stream.
        best: its best epoch on the validation images.
        late: its best epoch among the last ones, where that is asked for.
        visits: descriptions of those so far, see `Visit.description`.
        config: digest of the configuration, see `lifelong.configuration.digest`.
        of: visits of the whole stream; 0 in files of version 0.1.
        grown: entries of the optimizer's state with a row for each task, see `TaskOptimizer.grown`.
        rows: the tasks that they have rows of, [first, end), by parameter name; in a file, where
            the rows are not.
    """

    visit: int
    finished: bool
    strategy: dict[str, Any]
    record: dict[str, Any]
    rounds: list[dict[str, float]] = field(default_factory=list)
    epoch: int = 0
    optimizer: dict[str, Any] | None = None
    best: dict[str, Any] | None = None
    late: dict[str, Any] | None = None
    visits: list[dict[str, Any]] = field(default_factory=list)
    config: str = ""
    of: int = 0
    grown: list[str] = field(default_factory=list)
    rows: dict[str, list[int]] = field(default_factory=dict)

    def save(self, folder: Path, keep: str) -> None:
        """Writes the file; of finished tasks only the latest two stay unless `keep` is `all`."""
        path = folder / (f"visit_{self.visit:02d}.ckpt" if self.finished else PARTIAL)
        save(path, pack(vars(self) | self._rows_apart(folder)))
        if self.finished:
            (folder / PARTIAL).unlink(missing_ok=True)
            if keep == "latest":
                for old in list(finished_visits(folder).values())[:-2]:
                    old.unlink()
                first = min((first for first, _ in self.rows.values()), default=0)
                for number, part in _parts(folder).items():
                    if number < first - 1:  # the checkpoint before may need one more
                        part.unlink()

    def _rows_apart(self, folder: Path) -> dict[str, Any]:
        """The optimizer's state without its rows, which are written where they are not yet."""
        if not self.grown or self.optimizer is None:
            return {}
        states = {name: state for name, state in self.optimizer.items() if state}
        self.rows = {
            name: [state["tasks"] - len(state[self.grown[0]]), state["tasks"]]
            for name, state in states.items()
        }
        there = _parts(folder)
        end = max((end for _, end in self.rows.values()), default=0)
        for number in range(min((first for first, _ in self.rows.values()), default=0), end):
            # The newest may be of a run that was stopped before its checkpoint was written.
            if number not in there or (self.finished and number == end - 1):
                rows = {
                    name: {entry: states[name][entry][number - first] for entry in self.grown}
                    for name, (first, end) in self.rows.items()
                    if first <= number < end
                }
                save(folder / PART.format(number + 1), pack({"config": self.config, "rows": rows}))
        short = {
            name: state | {entry: state[entry][:0] for entry in self.grown}
            for name, state in states.items()
        }
        return {"optimizer": self.optimizer | short, "rows": self.rows}

    def with_rows(self, folder: Path) -> Checkpoint:
        """The checkpoint with the rows of its optimizer's state, read from their files.

        Raises:
            ValueError: one is missing, damaged, or of another run.
        """
        if not self.rows or self.optimizer is None:
            return self
        found: dict[int, Any] = {}
        for number in sorted({n for first, end in self.rows.values() for n in range(first, end)}):
            path = folder / PART.format(number + 1)
            try:
                part = unpack(load(path))
                if part["config"] != self.config:
                    raise ValueError("it is of another run")
                found[number] = part["rows"]
            except Exception as error:  # of many kinds, for a damaged or foreign file
                why = load_error(error) if path.exists() else "it is not there"
                raise ValueError(
                    f"{path}: what finished tasks left cannot be read ({why})"
                ) from None
        for name, (first, end) in self.rows.items():
            state = self.optimizer[name]
            for entry in self.grown:
                rows = [found[number][name][entry][None] for number in range(first, end)]
                state[entry] = torch.cat([state[entry], *rows])
        return self


def remove_leftovers(folder: Path, saved: Checkpoint | None) -> None:
    """Removes what a killed run may have left: half-written files, an outdated partial file."""
    for place in (folder, folder / "figures"):
        locks.remove_leftovers(place, alone=True)
    if saved is None or saved.finished:
        (folder / PARTIAL).unlink(missing_ok=True)


def finished_visits(folder: Path) -> dict[int, Path]:
    """Checkpoints of finished visits by their number, in their order."""
    return _numbered(folder, r"visit_(\d+)\.ckpt")


def _parts(folder: Path) -> dict[int, Path]:
    """Those of the finished visits, by their place from 0."""
    return {number - 1: path for number, path in _numbered(folder, r"history_(\d+)\.part").items()}


def _numbered(folder: Path, pattern: str) -> dict[int, Path]:
    names = ((re.fullmatch(pattern, path.name), path) for path in folder.glob("*"))
    return dict(sorted((int(match[1]), path) for match, path in names if match))


def read(path: Path) -> Checkpoint:
    """The checkpoint in a file.

    Raises:
        ValueError: a file that cannot be read.
    """
    try:
        content = load(path)
        return Checkpoint(**unpack(content))
    except Exception as error:  # of many kinds, for a damaged or foreign file
        reason = load_error(error) if path.stat().st_size else "it is empty"
        raise ValueError(f"{path}: not a checkpoint of a run ({reason})") from None


def latest(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The checkpoint that is furthest on, or None; and what is wrong with newer ones.

    Raises:
        ValueError: there are some, and none can be read.
    """
    found: Checkpoint | None = None
    wrong: list[str] = []
    for path in [folder / PARTIAL, *reversed(finished_visits(folder).values())]:
        if path.exists():
            try:
                one = read(path).with_rows(folder)
            except ValueError as error:
                wrong.append(str(error))
                continue
            if found is None or one.visit > found.visit:
                found = one
            if one.finished:
                break
    if found is None and wrong:
        raise ValueError(f"{wrong[-1]}; no other is there, so begin anew in another folder")
    return found, wrong
