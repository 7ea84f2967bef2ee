"""What `-m` is going to run, and where; nothing here imports torch.

Every run of a sweep has a folder of its own, named by what differs between the runs, in the sweep's
folder, which is named by the command: the same command again goes on.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lifelong.configuration.folders import checked_folder, run_folder
from lifelong.configuration.members import members
from lifelong.configuration.overrides import is_unnamed, quoted, unnamed
from lifelong.storage.locks import LOCK, OURS

MOST_POINTS = 32  # runs that are all looked at before the first begins
# Beside the folders of runs: of Hydra, its launchers, of searches, comparisons and this module.
OF_SWEEPS = re.compile(
    r"(multirun\.yaml|\.submitit|failures|study\.journal.*|search\.csv|\.running|comparison|against_)"
)


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
        names: of the runs' folders; None where that is not known beforehand.
        crowded: whether all runs begin at once on this machine, and nobody shares out its cores.
        sweeper: Hydra's member that carries it out.
        looked_at: whether `points` are all runs.
    """

    folder: Path
    total: int | None
    fixed: tuple[str, ...]
    parallel: bool
    searches: bool = False
    points: tuple[tuple[str, ...], ...] = ()
    names: frozenset[str] | None = None
    crowded: bool = False
    sweeper: str = "lifelong"
    looked_at: bool = False

    def overrides(self) -> list[str]:
        """What Hydra is to be told beside the command's overrides."""
        return [
            f"hydra.sweep.dir={quoted(str(self.folder))}",
            unnamed(self.fixed),
            f"hydra/sweeper={self.sweeper}",
        ]


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


def plan(overrides: Sequence[str], config_dir: str | None = None) -> Plan | None:
    """The plan of a command's overrides; None where Hydra is going to refuse them.

    Args:
        overrides: of the command.
        config_dir: folder of a person's own members, for patterns.

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
    sweeper = str(chosen["hydra/sweeper"].value()) if "hydra/sweeper" in chosen else "lifelong"
    known = not searches and sweeper == "lifelong"
    points, whole = _points(parsed, config_dir) if sweeper == "lifelong" else ((), False)
    names = _run_names(parsed) if known and _total(parsed) is not None else None
    return Plan(
        folder=folder,
        total=None if names is None else len(names),
        fixed=tuple(one.key_or_group for one in parsed if not one.is_sweep_override()),
        parallel=launcher is not None and launcher.value() != "basic",
        searches=searches,
        points=points,
        names=names,
        crowded=launcher is not None and launcher.value() == "submitit_local",
        sweeper=sweeper,
        looked_at=known and whole,
    )


def _names(override: Override) -> bool:
    key = override.key_or_group
    return not is_unnamed(key) and key not in ("paths.output_dir", "paths.data_dir")


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


def _run_names(overrides: Sequence[Override]) -> frozenset[str]:
    """Of the folders; equal points have one."""
    named = [each for each in overrides if each.is_sweep_override() and _names(each)]
    ways = [list(_ways(each)) for each in named]
    return frozenset(run_folder(",".join(sorted(point))) for point in itertools.product(*ways))


def _points(
    overrides: Sequence[Override], config_dir: str | None
) -> tuple[tuple[tuple[str, ...], ...], bool]:
    """Overrides of all runs, or of as many as have all values among them; whether it is all.

    Of intervals the ends stand for what a search draws from them.
    """
    runs = [each for each in overrides if each.key_or_group.split(".")[0] != "search"]
    try:
        ways = [list(_ways(each, config_dir)) for each in runs]
    except HydraException:
        return (), False
    if not all(ways):
        return (), False
    if math.prod(map(len, ways)) <= MOST_POINTS:
        return tuple(itertools.product(*ways)), True
    longest = max(map(len, ways))
    some = [tuple(each[min(place, len(each) - 1)] for each in ways) for place in range(longest)]
    return tuple(some), False


def _ways(override: Override, config_dir: str | None = None) -> Iterator[str]:
    """An override with each of its values."""
    line = str(override.input_line)
    if not override.is_sweep_override():
        yield line
        return
    key = line.partition("=")[0]
    value = override.value()
    if isinstance(value, Glob):
        there = members(override.key_or_group, config_dir)
        direct = [name for name in there if "/" not in name]  # as Hydra looks for them
        yield from (f"{key}={name}" for name in value.filter(direct))
        return
    if isinstance(value, IntervalSweep):
        yield from (f"{key}={end}" for end in (value.start, value.end))
        return
    for text in override.sweep_string_iterator():
        yield f"{key}={text}"
