"""Checkpoints: one file from which a run goes on, written atomically, loaded without pickles.

`task_03.ckpt` is written when the fourth visit of the stream is finished; `partial.ckpt` inside a
task. A checkpoint holds plain values and tensors only, see `lifelong.parts.packing`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lifelong.files import write_with
from lifelong.parts.packing import pack, unpack

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

    def save(self, folder: Path, keep: str) -> None:
        """Writes the file; of finished tasks only the latest two stay unless `keep` is `all`."""
        path = folder / (f"task_{self.step:02d}.ckpt" if self.finished else PARTIAL)
        content = pack(vars(self))
        write_with(path, lambda temporary: torch.save(content, temporary))
        if self.finished:
            (folder / PARTIAL).unlink(missing_ok=True)
            if keep == "latest":
                for old in list(finished_visits(folder).values())[:-2]:
                    old.unlink()


def remove_leftovers(folder: Path, saved: Checkpoint | None) -> None:
    """Removes what a killed run may have left: half-written files, an outdated partial file."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)
    if saved is None or saved.finished:
        (folder / PARTIAL).unlink(missing_ok=True)


def finished_visits(folder: Path) -> dict[int, Path]:
    """Checkpoints of finished visits by their number, in their order."""
    found = {int(path.stem.split("_")[1]): path for path in folder.glob("task_*.ckpt")}
    return dict(sorted(found.items()))


def read(path: Path) -> Checkpoint:
    """The checkpoint in a file.

    Raises:
        ValueError: a file that cannot be read.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        return Checkpoint(**unpack(content))
    except Exception as error:  # of many kinds, for a damaged or foreign file
        reason = str(error).splitlines()[0]
        raise ValueError(f"{path}: not a checkpoint of a run ({reason})") from None


def latest(folder: Path) -> Checkpoint | None:
    """The checkpoint that is furthest on, or None.

    Raises:
        ValueError: a file that cannot be read.
    """
    paths = [*list(finished_visits(folder).values())[-1:], folder / PARTIAL]
    found = [read(path) for path in paths if path.exists()]
    return max(found, key=lambda checkpoint: checkpoint.step, default=None)
