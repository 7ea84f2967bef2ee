"""A sweep while it goes on: its lines, its bar, the GPUs of its processes."""

from __future__ import annotations

import os
import threading
import time
from typing import Any, ClassVar, Self

from hydra.conf import HydraConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from lifelong.sweeps.plan import Plan
from lifelong.sweeps.standing import sweep_status
from lifelong.training import machine
from lifelong.training.console import PLAIN, QUIET

POLL = 0.5  # seconds between two looks at the runs


class SweepMonitor:
    """Shows how a sweep stands while it goes on, and tells at the end; a context manager.

    Args:
        made: the plan.
        console: to print on.

    Attributes:
        total: runs; None as long as that is not known.
        found: what a search has found, in words.
    """

    current: ClassVar[SweepMonitor | None] = None  # of this process

    def __init__(self, made: Plan, console: Console | None = None) -> None:
        self.total, self.found = made.total, ""
        self.plan, self.console = made, console or Console(**PLAIN, soft_wrap=True)
        self._there = sweep_status(made.folder)  # also runs of other commands, read once
        self.now = self.before = self._there.of(made.names)
        self._done, self._told = threading.Event(), set(self.before.finished)
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        live = made.parallel and self.console.is_terminal
        text = TextColumn("{task.description}", markup=False)
        more = TextColumn("{task.fields[values]}", markup=False)
        columns = (text, BarColumn(), MofNCompleteColumn(), more)
        self._bar = Progress(*columns, console=self.console, disable=not live)

    def __enter__(self) -> Self:
        SweepMonitor.current = self
        if self.plan.parallel:
            os.environ[QUIET] = "1"
        if self.plan.crowded:
            share = max(1, machine.cores() // (self.total or machine.cores()))
            os.environ.setdefault(machine.LIMIT, str(share))
        self._bar.start()
        self._task = self._bar.add_task("sweep", total=self.total, values="")
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()
        self._look()
        self._bar.stop()
        os.environ.pop(QUIET, None)
        SweepMonitor.current = None
        self._close()

    def _follow(self) -> None:
        while not self._done.wait(POLL):
            self._look()

    def _look(self) -> None:
        self._there = sweep_status(self.plan.folder, self._there)
        self.now = now = self._there.of(self.plan.names)
        of = "" if self.total is None else f" of {self.total}"
        failed = self.failed
        for name in [name for name in (*now.finished, *failed) if name not in self._told]:
            self._told.add(name)
            told = f"{len(self._told)}{of} done{self._left()}"
            how = "failed" if name in now.failed else _percent(now.finished[name])
            self.console.print(f"{name}: {how}; {told}")
        values = f"{len(now.running)} running, {len(failed)} failed{self._left()}"
        done = len(now.finished) + len(failed)
        self._bar.update(self._task, total=self.total, completed=done, values=values)

    @property
    def failed(self) -> list[str]:
        """Runs that failed since the begin, by name."""
        now, before = self.now, self.before
        return [name for name in now.failed if now.failed_at[name] != before.failed_at.get(name)]

    def _left(self) -> str:
        """About the time that the runs to come will take, by those of this command."""
        fresh = len(self._told) - len(self.before.finished)
        if self.total is None or not fresh:
            return ""
        each = (time.monotonic() - self._began) / fresh
        left = (self.total - len(self._told)) * each
        return f", about {_duration(left)} left" if left > 0 else ""

    def _close(self) -> None:
        now = self.now
        if not (now.finished or now.failed or now.running):
            return
        earlier = len(self.before.finished)
        text = f"sweep in {self.plan.folder}: {len(now.finished)} runs finished"
        text += f" ({earlier} of them before)" if earlier else ""
        self.console.print(text + (f", {len(now.failed)} failed" if now.failed else ""))
        for name, why in now.failed.items():
            self.console.print(f"failed: {name}: {why.splitlines()[0] if why else ''}")
        left = (self.total or 0) - len(now.finished) - len(now.failed)
        if left > 0 or now.failed:
            self.console.print("the same command goes on with what is not finished")
        if self.found:
            self.console.print(self.found)
        if now.finished:
            self.console.print(f"to compare: lifelong compare {self.plan.folder}")


def assign_gpu(settings: HydraConf, environment: dict[str, str] | None = None) -> None:
    """Where joblib runs several processes beside several GPUs, gives each process one in turn."""
    env: Any = os.environ if environment is None else environment
    if settings.runtime.choices.get("hydra/launcher") != "joblib" or "LIFELONG_GPU" in env:
        return
    shown = env.get("CUDA_VISIBLE_DEVICES")
    known = shown.split(",") if shown else [str(number) for number in range(machine.gpus())]
    if len(known) > 1:
        env["LIFELONG_GPU"] = env["CUDA_VISIBLE_DEVICES"] = known[settings.job.num % len(known)]


def _percent(value: float | None) -> str:
    return "-" if value is None else f"final accuracy {100 * value:.1f} %"


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1.5:
        return f"{seconds:.0f} s"
    return f"{minutes / 60:.1f} h" if minutes >= 90 else f"{minutes:.0f} min"
