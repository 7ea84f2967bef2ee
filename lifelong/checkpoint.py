"""Checkpoints: one file from which a run goes on, written atomically, loaded without pickles.

`task_03.ckpt` is written when the fourth visit of the stream is finished; `partial.ckpt` inside a
task. A checkpoint holds plain values and tensors only, see `lifelong.parts.packing`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lifelong import files
from lifelong.files import load, save
from lifelong.parts.packing import pack, unpack
from lifelong.parts.state_files import told

PARTIAL = "partial.ckpt"


@dataclass
class Checkpoint:
    """The state of a run.

    Attributes:
        step: visit of the stream.
        finished: whether the visit is finished.
        strategy: state of the strategy, network included.
        record: what was measured.
        rounds: metrics of the finished rounds of an unfinished visit.
        epoch: epochs done of the round after those.
        optimizer: state of its optimizer by parameter name; of a finished visit where the
            optimizer is kept for the whole stream.
        best: its best epoch on the validation images.
        late: its best epoch among the last ones, where that is asked for.
        tasks: descriptions of the visits so far, see `Task.description`.
        config: digest of the configuration, see `lifelong.configuration.digest`.
    """

    step: int
    finished: bool
    strategy: dict[str, Any]
    record: dict[str, Any]
    rounds: list[dict[str, float]] = field(default_factory=list)
    epoch: int = 0
    optimizer: dict[str, Any] | None = None
    best: dict[str, Any] | None = None
    late: dict[str, Any] | None = None
    tasks: list[dict[str, Any]] = field(default_factory=list)
    config: str = ""

    def save(self, folder: Path, keep: str) -> None:
        """Writes the file; of finished tasks only the latest two stay unless `keep` is `all`."""
        path = folder / (f"task_{self.step:02d}.ckpt" if self.finished else PARTIAL)
        content = pack(vars(self))
        save(path, content)
        if self.finished:
            (folder / PARTIAL).unlink(missing_ok=True)
            if keep == "latest":
                for old in list(finished_visits(folder).values())[:-2]:
                    old.unlink()


def remove_leftovers(folder: Path, saved: Checkpoint | None) -> None:
    """Removes what a killed run may have left: half-written files, an outdated partial file."""
    for place in (folder, folder / "figures"):
        files.remove_leftovers(place, alone=True)
    if saved is None or saved.finished:
        (folder / PARTIAL).unlink(missing_ok=True)


def finished_visits(folder: Path) -> dict[int, Path]:
    """Checkpoints of finished visits by their number, in their order."""
    names = ((re.fullmatch(r"task_(\d+)\.ckpt", path.name), path) for path in folder.glob("task_*"))
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
        reason = told(error) if path.stat().st_size else "it is empty"
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
                one = read(path)
            except ValueError as error:
                wrong.append(str(error))
                continue
            if found is None or one.step > found.step:
                found = one
            if one.finished:
                break
    if found is None and wrong:
        raise ValueError(f"{wrong[-1]}; no other is there, so begin anew in another folder")
    return found, wrong
