"""Runs of rows, several at a time, until all are done or the time is up."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from lifelong.configuration.folders import finished, run_folder
from lifelong.configuration.overrides import is_unnamed, key_of, quoted
from lifelong.configuration.stored import MOVES
from lifelong.training.console import QUIET
from lifelong.training.machine import LIMIT

POLL = 0.2  # seconds between two looks at the runs
DEVICES = ("trainer=auto", "trainer=cpu", "trainer=gpu")
INSIDE = "checkpoint_every=10"  # epochs, so that a run that the clock stops loses little


def _is_handling(text: str) -> bool:
    """Whether an override says where and how a run is computed, and nothing of the run."""
    return text in DEVICES or key_of(text) in MOVES or is_unnamed(key_of(text))


@dataclass(frozen=True)
class Job:
    """A run of `experiment=row`.

    Attributes:
        row: such as `tag/cifar100_er`.
        seed: of the run.
        out: folder of the rows.
        overrides: of the row.
        home: folder of a person's own members, of which the row may be.
    """

    row: str
    seed: int
    out: Path
    overrides: tuple[str, ...] = ()
    home: str | None = None

    @cached_property
    def folder(self) -> Path:
        """Of the run; runs whose overrides may change results have others.

        A run that was begun on a GPU goes on wherever the next call is made.
        """
        told = sorted(text for text in self.overrides if not _is_handling(text))
        return self.out / self.row / run_folder(",".join([f"seed={self.seed}", *told]))

    @property
    def done(self) -> bool:
        """Whether the run is finished."""
        return finished(self.folder)

    @property
    def begun(self) -> bool:
        """Whether an earlier call began the run: then its images are there."""
        return (self.folder / "config.yaml").exists()

    def command(self) -> list[str]:
        """What is run, and goes on with what is in the folder."""
        given = {key_of(text) for text in self.overrides}
        more = [text for text in (INSIDE,) if key_of(text) not in given]
        here = [f"seed={self.seed}", f"paths.output_dir={quoted(str(self.folder))}", "resume=auto"]
        home = [] if self.home is None else [f"--config-dir={self.home}"]
        call = [sys.executable, "-m", "lifelong.run", *home, f"experiment={self.row}"]
        return [*call, *here, *more, *self.overrides]


def run_jobs(
    next_job: Callable[[float], Job | None],
    ended: Callable[[Job, int | None], bool],
    cores: int = 1,
    until: float = float("inf"),
) -> int:
    """Runs jobs; those that still run when the time is up are stopped, and can be gone on with.

    Args:
        next_job: gives the next one, told the seconds that are left; None for no more.
        ended: is told a job and its exit status, None where the clock stopped it; it says whether
            to go on.
        cores: how many run at a time; several say nothing on their own.
        until: by `time.monotonic`.

    Returns:
        0, or the exit status of the job after which it did not go on.
    """
    running: dict[Job, subprocess.Popen[bytes]] = {}
    status = 0
    before = signal.signal(signal.SIGTERM, _terminated)  # it ends the runs, too
    try:
        while True:
            left = until - time.monotonic()
            while left > 0 and not status and len(running) < cores:
                job = next_job(left)
                if job is None:
                    break
                running[job] = subprocess.Popen(
                    job.command(), env=_environment(cores), preexec_fn=_bound_to_its_parent()
                )
            if not running:
                return status
            if left <= 0 or status:
                _stop(list(running.values()))
            for job, code in _reaped(running):
                if not ended(job, None if left <= 0 and code else code):
                    status = status or code
            time.sleep(POLL)
    finally:
        _stop(list(running.values()))
        signal.signal(signal.SIGTERM, before)


def _terminated(number: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _bound_to_its_parent() -> Callable[[], Any] | None:
    """What makes a process end, as a scheduler ends it, when its parent is killed; on Linux."""
    if sys.platform != "linux":
        return None
    import ctypes

    prctl, pr_set_pdeathsig = ctypes.CDLL(None).prctl, 1
    return lambda: prctl(pr_set_pdeathsig, signal.SIGTERM)


def _environment(cores: int) -> dict[str, str]:
    """Of a run beside others: it has a thread, and does not talk."""
    alone = dict(os.environ)
    return alone if cores == 1 else {LIMIT: "1"} | alone | {QUIET: "1"}


def _reaped(running: dict[Job, subprocess.Popen[bytes]]) -> list[tuple[Job, int]]:
    """Takes out those that ended, with their exit status, 128 + the number of what killed one."""
    over = [job for job, process in running.items() if process.poll() is not None]
    codes = [running.pop(job).returncode for job in over]
    return [(job, code if code >= 0 else 128 - code) for job, code in zip(over, codes, strict=True)]


def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Asks for an end, as a scheduler does, and waits for it."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in processes:
        process.wait()
