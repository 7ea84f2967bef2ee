"""A sweep: what `-m` is going to run, where, and how it stands; nothing here imports torch.

Every run of a sweep has a folder of its own, named by what differs between the runs, in the sweep's
folder, which is named by the command: the same command again goes on.
"""

from __future__ import annotations

import itertools
import math
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from lifelong import machine
from lifelong.configuration import HANDLING, checked_folder, run_folder
from lifelong.files import LOCK, OURS, read_json, write_text

# Of a console: texts are a person's own, and brackets and colons in them are no commands.
PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
QUIET = "LIFELONG_QUIET"  # set where several runs would talk at the same time
UNNAMED = (*HANDLING, "hydra")
# Of a search that goes on in its folder, and how a run is computed.
GOING_ON = ("search.trials", "search.at_once", "trainer.threads")
MOST_POINTS = 32  # runs that are all looked at before the first begins
POLL = 0.5  # seconds between two looks at the runs
FAILURES = "failures"
NOTED = "multirun.yaml"  # in which Hydra notes its own settings
# Beside the folders of runs: of Hydra, its launchers, of searches, comparisons and this module.
OF_SWEEPS = re.compile(
    r"(multirun\.yaml|\.submitit|failures|study\.journal.*|search\.csv|\.running|comparison|against_)"
)
FOLDERS = {"hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir"}


@dataclass(frozen=True)
class Plan:
    """What a command with `-m` is going to do.

    Attributes:
        folder: of the sweep.
        total: runs; None where that is not known beforehand.
        fixed: keys that have one value, and so do not belong into the names of the runs.
        parallel: whether several runs go on at the same time.
        searches: whether its runs are chosen by a search.
        points: overrides of some of its runs, of all if they are few: every value is in one.
        crowded: whether all runs begin at once on this machine, and nobody shares out its cores.
    """

    folder: Path
    total: int | None
    fixed: tuple[str, ...]
    parallel: bool
    searches: bool = False
    points: tuple[tuple[str, ...], ...] = ()
    crowded: bool = False

    def overrides(self) -> list[str]:
        """What Hydra is to be told beside the command's overrides."""
        return [
            f"hydra.sweep.dir={quoted(str(self.folder))}",
            unnamed(self.fixed),
            *(["hydra/sweeper=search"] if self.searches else []),
        ]


def unnamed(fixed: Sequence[str]) -> str:
    """The override that keeps keys of one value out of the names of the runs."""
    keys = dict.fromkeys([*UNNAMED, "paths.output_dir", "paths.data_dir", *GOING_ON, *fixed])
    return f"hydra.job.config.override_dirname.exclude_keys=[{','.join(keys)}]"


def quoted(value: str) -> str:
    r"""A text as Hydra reads it between quotes.

    >>> quoted("ab"), quoted('a"b')
    ('"ab"', '\'a"b\'')
    """
    quote = "'" if '"' in value and "'" not in value else '"'
    inside = re.sub(rf"(\\*){quote}", rf"\1\1\\{quote}", value)
    inside = re.sub(r"(\\+)$", r"\1\1", inside)
    return f"{quote}{inside}{quote}"


def readable(override: str) -> str:
    """An override whose value Hydra can read: other alphabets and ~ for home need its quotes.

    >>> readable("name=b\u00e4r"), readable("name=bear"), readable("name=[b\u00e4r]")
    ('name="b\u00e4r"', 'name=bear', 'name=[b\u00e4r]')
    """
    if override.startswith("-"):  # an argument such as --config-dir=...
        return override
    key, sign, value = override.partition("=")
    foreign = value.startswith("~") or any(ord(each) > 127 for each in value)
    known = re.fullmatch(r"[\w \-/.%+@?|:$~]*", value)
    return f"{key}={quoted(value)}" if sign and foreign and known else override


def key_of(override: str) -> str:
    """The key of an override as it is written, without the signs for adding and removing."""
    return override.partition("=")[0].lstrip("+~")


def is_unnamed(key: str) -> bool:
    """Whether an override changes no result, so that its sweep is the same with it."""
    return key in GOING_ON or re.split(r"[./]", key)[0] in UNNAMED


def check_no_folders(overrides: Sequence[str]) -> None:
    """Refuses Hydra's own folders, by which no run goes.

    Raises:
        ValueError: the override, and what to give in its place.
    """
    for text in overrides:
        if key_of(text) in FOLDERS:
            raise ValueError(f"{text}: runs do not go by it; give paths.output_dir")


def check_folder(folder: Path) -> None:
    """Refuses a sweep's folder with anything that is of no sweep.

    Raises:
        ValueError: what is there.
    """
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not _is_of_run(path) and not (OF_SWEEPS.match(path.name) or OURS.fullmatch(path.name)):
            raise ValueError(
                f"paths.output_dir={folder}: holds {path.name!r}, which is of no sweep; give a new "
                "or an empty folder"
            )


def _is_of_run(path: Path) -> bool:
    """Whether a folder is a run's, maybe of one that was killed before it wrote anything."""
    if not path.is_dir():
        return False
    begun = (path / "config.yaml").exists()
    return begun or all(each.name == LOCK or OURS.fullmatch(each.name) for each in path.iterdir())


def plan(overrides: Sequence[str]) -> Plan | None:
    """The plan of a command's overrides; None where Hydra is going to refuse them.

    Raises:
        ValueError: several folders for one sweep, an interval without a search.
    """
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException:
        return None
    chosen = {override.key_or_group: override for override in parsed}
    searches = "search" in chosen and chosen["search"].value() is not None
    named = [text for text, one in zip(overrides, parsed, strict=True) if _names(one)]
    folder = Path("outputs") / f"sweep_{run_folder(','.join(sorted(named)))}"
    if "paths.output_dir" in chosen:
        folder = _folder(chosen["paths.output_dir"]) or folder
    launcher = chosen.get("hydra/launcher")
    return Plan(
        folder=folder,
        total=None if searches or "hydra/sweeper" in chosen else _total(parsed),
        fixed=tuple(one.key_or_group for one in parsed if not one.is_sweep_override()),
        parallel=launcher is not None and launcher.value() != "basic",
        searches=searches,
        points=() if searches or "hydra/sweeper" in chosen else tuple(_points(parsed)),
        crowded=launcher is not None and launcher.value() == "submitit_local",
    )


def _names(override: Override) -> bool:
    return not is_unnamed(override.key_or_group)


def _folder(override: Override) -> Path | None:
    if override.is_sweep_override():
        raise ValueError(f"{override.input_line}: a sweep has one folder; give one")
    node = OmegaConf.create({"folder": override.value()})
    try:
        return None if node.folder is None else checked_folder(str(node.folder))
    except OmegaConfBaseException:  # it refers to what is composed later
        return Path(str(override.value()))


def _total(overrides: Sequence[Override]) -> int | None:
    """Runs of a sweep without a search; None where only Hydra knows."""
    for override in overrides:
        if override.is_interval_sweep():
            raise ValueError(
                f"{override.input_line}: an interval needs search=tpe or search=random"
            )
    try:
        return math.prod(
            len(list(one.sweep_iterator())) for one in overrides if one.is_sweep_override()
        )
    except HydraException:  # of members by pattern
        return None


def _points(overrides: Sequence[Override]) -> Iterator[tuple[str, ...]]:
    """Overrides of all runs, or of as many as have all values among them."""
    try:
        ways = [list(_ways(each)) for each in overrides]
    except HydraException:  # of members by pattern
        return
    if math.prod(map(len, ways)) <= MOST_POINTS:
        yield from itertools.product(*ways)
        return
    for place in range(max(map(len, ways))):
        yield tuple(values[min(place, len(values) - 1)] for values in ways)


def _ways(override: Override) -> Iterator[str]:
    """An override with each of its values."""
    line = str(override.input_line)
    if not override.is_sweep_override():
        yield line
        return
    for value in override.sweep_string_iterator():
        yield f"{line.partition('=')[0]}={value}"


def note_failure(folder: Path, message: str | None) -> None:
    """Keeps why a run of a sweep failed, beside the runs; None: it did not."""
    path = folder.parent / FAILURES / f"{folder.name}.txt"
    if message is not None:
        write_text(path, f"{message}\n")
        return
    path.unlink(missing_ok=True)
    if path.parent.is_dir() and not any(path.parent.iterdir()):
        path.parent.rmdir()


@dataclass
class Standing:
    """How the runs of a sweep stand.

    Attributes:
        finished: final accuracy by name of the run.
        failed: why, by name.
        failed_at: when, by name, in nanoseconds.
        running: names of those begun and not ended; also of those that were killed.
    """

    finished: dict[str, float | None] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    failed_at: dict[str, int] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)


def standing(folder: Path, before: Standing | None = None) -> Standing:
    """How the runs in a sweep's folder stand; those finished `before` are not read once more."""
    found = Standing({} if before is None else dict(before.finished))
    for path in sorted((folder / FAILURES).glob("*.txt")):
        with suppress(OSError):  # the run is begun anew at this moment
            found.failed[path.stem] = path.read_text(encoding="utf-8", errors="replace").strip()
            found.failed_at[path.stem] = path.stat().st_mtime_ns
    for config in sorted(folder.glob("*/config.yaml")):
        name = config.parent.name
        if name in found.finished:
            continue
        try:
            results = read_json(config.parent / "results.json", {"status", "metrics"})
        except (OSError, ValueError):
            results = {}
        if results.get("status") == "finished":
            found.finished[name] = dict(results["metrics"]).get("final_accuracy")
        elif name not in found.failed:
            found.running.append(name)
    return found


class Watch:
    """Shows how a sweep stands while it goes on, and tells at the end; a context manager.

    Args:
        made: the plan.
        console: to print on.

    Attributes:
        total: runs; None as long as that is not known.
        found: what a search has found, in words.
    """

    current: ClassVar[Watch | None] = None  # of this process

    def __init__(self, made: Plan, console: Console | None = None) -> None:
        self.total, self.found = made.total, ""
        self.plan, self.console = made, console or Console(**PLAIN, soft_wrap=True)
        self.now = self.before = standing(made.folder)
        self._done, self._told = threading.Event(), set(self.before.finished)
        self._began = time.monotonic()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        live = made.parallel and self.console.is_terminal
        text = TextColumn("{task.description}", markup=False)
        more = TextColumn("{task.fields[values]}", markup=False)
        columns = (text, BarColumn(), MofNCompleteColumn(), more)
        self._bar = Progress(*columns, console=self.console, disable=not live)

    def __enter__(self) -> Self:
        Watch.current = self
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
        Watch.current = None
        self._close()

    def _follow(self) -> None:
        while not self._done.wait(POLL):
            self._look()

    def _look(self) -> None:
        self.now = now = standing(self.plan.folder, self.now)
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
            self.console.print(f"to compare: python -m lifelong.compare {self.plan.folder}")


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
