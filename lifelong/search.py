"""Searches for options: `python -m lifelong.run -m search=tpe lr=tag(log,interval(1e-4,1e-1))`.

A search is a sweep whose points are chosen by Optuna, or all points of a grid. A point is one value
for every option that is searched; each is run with every seed of the command, and its value is the
mean final accuracy on validation images. The study lies in the sweep's folder: the same command
goes on, first with the points whose runs failed or were interrupted.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, open_dict, read_write

from lifelong import frame, sweep
from lifelong.configuration import FOLDER, SEEDS
from lifelong.evaluation.study import spread
from lifelong.files import SEAL, seal, sealed, write_bytes, write_text

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial, TrialState

GROUP = "search"
STUDY = "study.journal"  # Optuna's file, in the sweep's folder
TABLE = "search.csv"  # what it came to, beside it
SAMPLERS = ("grid", "random", "tpe")
TRIALS = 20  # points, of samplers that could go on for ever
MOST_PROPOSALS = 100  # that are known already, in a row

Point = dict[str, Any]


@dataclass
class Space:
    """What is searched, and what stays as it is.

    Attributes:
        options: for each key that is searched what Optuna is to know of its values.
        given: the values as they were given.
        fixed: overrides that every run has.
        seeds: for each key of seeds its values, over which a point's runs are averaged.
    """

    options: dict[str, BaseDistribution] = field(default_factory=dict)
    given: dict[str, str] = field(default_factory=dict)
    fixed: list[str] = field(default_factory=list)
    seeds: dict[str, list[str]] = field(default_factory=dict)

    @property
    def runs(self) -> list[list[str]]:
        """Of one point: the overrides by seeds."""
        named = [[f"{key}={value}" for value in values] for key, values in self.seeds.items()]
        return [list(each) for each in itertools.product(*named)]

    def grid(self) -> list[Point]:
        """All points.

        Raises:
            ValueError: an option without end of values.
        """
        values = []
        for key, of in self.options.items():
            choices = getattr(of, "choices", None)
            if choices is None:
                raise ValueError(
                    f"{key}: a grid needs its values, such as {key}=0.1,0.01; for ranges give "
                    "search=tpe or search=random"
                )
            values.append(choices)
        return [dict(zip(self.options, each, strict=True)) for each in itertools.product(*values)]

    @property
    def size(self) -> int:
        """Number of points; a large number where there are infinitely many."""
        sizes = []
        for of in self.options.values():
            choices, step = getattr(of, "choices", None), getattr(of, "step", None)
            if choices is not None:
                sizes.append(len(choices))
            elif step is None:
                return sys.maxsize
            else:
                sizes.append(round((of.high - of.low) / step) + 1)  # type: ignore[attr-defined]
        return math.prod(sizes)

    def told(self) -> list[str]:
        """All that must be the same for points to be compared, as overrides."""
        given = [f"{key}={values}" for key, values in self.given.items()]
        seeds = [f"{key}={','.join(values)}" for key, values in self.seeds.items()]
        fixed = [text for text in self.fixed if not sweep.is_unnamed(sweep.key_of(text))]
        return sorted([*given, *seeds, *fixed])


def space_of(overrides: Sequence[Override], discrete: bool) -> Space:
    """Takes overrides apart, of which the last one of a key counts.

    Args:
        overrides: of the search's file, then of the command.
        discrete: take ranges of whole steps as their values.

    Raises:
        ValueError: no option with several values, or one that is not to be searched.
    """
    found = Space()
    for override in {one.get_key_element(): one for one in overrides}.values():
        key = override.get_key_element()
        of_search = key.split(".")[0] == GROUP
        if not override.is_sweep_override():
            if not of_search:
                found.fixed.append(_text(override))
        elif of_search or key in ("data", "measure_on"):
            raise ValueError(f"{override.input_line}: is not searched; give one value")
        elif key in SEEDS:
            found.seeds[key] = _values(override)
        else:
            of = found.options[key] = _distribution(override, discrete)
            choices = getattr(of, "choices", None)
            text = str(override.input_line).partition("=")[2]
            found.given[key] = text if choices is None else ",".join(choices)
    if not found.options:
        raise ValueError(
            "search: nothing to search; give an option several values, such as lr=0.1,0.01, or "
            "with search=tpe an interval, lr=tag(log,interval(1e-4,1e-1))"
        )
    measured = [text for text in found.fixed if text.startswith("measure_on=")]
    if measured and measured != ["measure_on=validation"]:
        raise ValueError(
            f"{measured[0]}: a search looks at validation images alone; leave measure_on out"
        )
    found.fixed += [] if measured else ["measure_on=validation"]
    return found


def _text(override: Override) -> str:
    key = override.get_key_element()
    return key if override.is_delete() else f"{key}={override.get_value_element_as_str()}"


def _values(override: Override) -> list[str]:
    """The values of a sweep as texts, each once, in the order given."""
    if not override.is_discrete_sweep():
        raise ValueError(f"{override.input_line}: give its values, such as 1,2,3")
    value = override.value()
    if getattr(value, "shuffle", False):
        value.shuffle = False  # type: ignore[union-attr]
    values = list(dict.fromkeys(str(each) for each in override.sweep_string_iterator()))
    if not values:
        raise ValueError(f"{override.input_line}: has no values")
    return values


def _distribution(override: Override, discrete: bool) -> BaseDistribution:
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    value = override.value()
    log = "log" in getattr(value, "tags", ())
    if isinstance(value, IntervalSweep):
        low, high = value.start or 0, value.end or 0
        if high <= low or (log and low <= 0):
            raise ValueError(
                f"{override.input_line}: give an interval from a lower to a higher value, above 0 "
                "where it is logarithmic"
            )
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(float(low), float(high), log=log)
    texts = _values(override)
    if isinstance(value, RangeSweep) and not discrete:
        values = list(value.range())
        if all(isinstance(each, int) for each in values):
            return IntDistribution(min(values), max(values), step=abs(int(value.step)))
        return FloatDistribution(min(values), max(values), step=abs(float(value.step)))
    return CategoricalDistribution(texts)


@dataclass
class Search:
    """A study and how it goes on.

    Args:
        study: of Optuna.
        space: what is searched.
        sampler: one of `SAMPLERS`.
        trials: points in all; None for all of the grid.
        seed: of the sampler.
    """

    study: Study
    space: Space
    sampler: str
    trials: int | None
    seed: int

    def __post_init__(self) -> None:
        told = self.space.told()
        before = self.study.user_attrs.get("space", told)
        if before != told:
            was, now = (
                [text for text in one if text not in other]
                for one, other in ((before, told), (told, before))
            )
            raise ValueError(
                f"search: the study in this folder has {' '.join(was) or 'no more'}, this command "
                f"{' '.join(now) or 'no more'}; give another paths.output_dir"
            )
        self.study.set_user_attr("space", told)
        self._again = self._open()
        self._failed: list[Point] = []  # by this command

    def _open(self) -> list[Point]:
        """Points to be run that need no sampler: of the grid, or begun and not finished."""
        for _ in self._in("WAITING"):
            self.study.ask()
        for trial in self._in("RUNNING"):
            self.study.tell(trial.number, state=self._fail)
        done = [trial.params for trial in self.finished()]
        points = [trial.params for trial in self._in("FAIL")]
        if self.sampler == "grid":
            points = self.space.grid()
        return [
            point
            for number, point in enumerate(points)
            if point not in done and point not in points[:number]
        ]

    def _in(self, state: str) -> list[FrozenTrial]:
        return [trial for trial in self.study.trials if trial.state.name == state]

    @property
    def _fail(self) -> TrialState:
        from optuna.trial import TrialState

        return TrialState.FAIL

    def finished(self) -> list[FrozenTrial]:
        """Trials whose runs all gave a value, in their order."""
        return self._in("COMPLETE")

    @property
    def total(self) -> int:
        """Points, those of earlier commands included."""
        if self.trials is None:
            return len(self._again) + len(self.finished())
        return min(self.trials, self.space.size)

    def ask(self, number: int) -> list[Trial]:
        """The next points, at most so many, all different from each other and from those before.

        None at the end, also where the sampler finds no other point any more.
        """
        asked: list[Trial] = []
        while len(asked) < number:
            if self._again:
                self.study.enqueue_trial(self._again.pop(0))
                asked.append(self.study.ask(self.space.options))
                continue
            known = [trial.params for trial in self.finished()] + self._failed
            known += [trial.params for trial in asked]
            if self.sampler == "grid" or len(known) >= self.total:
                break
            proposed = self._proposed(known)
            if proposed is None:
                break
            asked.append(proposed)
        return asked

    def _proposed(self, known: Sequence[Point]) -> Trial | None:
        """A point of the sampler's that is not known.

        Each proposal has a sampler of its own, seeded by the number of proposals so far, so that a
        study that goes on proposes what it would have.
        """
        from optuna.samplers import RandomSampler, TPESampler

        make = TPESampler if self.sampler == "tpe" else RandomSampler
        for _ in range(MOST_PROPOSALS):
            before = sum("fixed_params" not in trial.system_attrs for trial in self.study.trials)
            self.study.sampler = make(seed=self.seed * 1_000_003 + before)
            trial = self.study.ask(self.space.options)
            if trial.params not in known:
                return trial
            self.study.tell(trial, state=self._fail)
        return None

    def tell(self, trial: Trial, values: Sequence[float | None]) -> None:
        """What the runs of a point gave; None of one that failed."""
        found = [value for value in values if value is not None]
        if len(found) < len(values):
            self._failed.append(trial.params)
            self.study.tell(trial, state=self._fail)
        else:
            trial.set_user_attr("accuracies", found)
            self.study.tell(trial, spread(found).mean)

    def ranked(self) -> list[FrozenTrial]:
        """Finished trials, the best first; of equal ones the first."""
        return sorted(self.finished(), key=lambda trial: -float(trial.value or 0))

    def write(self, folder: Path) -> None:
        """Writes the points with what their runs gave, accuracies in [0, 1], the best first."""
        table = io.StringIO()
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow([*self.space.options, "accuracy", "deviation", "n"])
        for trial in self.ranked():
            of = spread(trial.user_attrs["accuracies"])
            point = [trial.params[key] for key in self.space.options]
            rows.writerow([*point, of.mean, "" if of.n < 2 else of.deviation, of.n])
        write_text(folder / TABLE, table.getvalue())

    def found(self) -> str:
        """The best point in words."""
        best, *others = self.ranked()
        seeds = len(best.user_attrs["accuracies"])
        return (
            f"best of {1 + len(others)}: {' '.join(_overrides(best.params))}: "
            f"{100 * float(best.value or 0):.2f} % on validation images (mean of {seeds})"
        )


def carry_out(sweeper: BasicSweeper, arguments: Sequence[str]) -> list[list[JobReturn]]:
    """Runs a search with the sweeper's launcher, and writes what came out.

    Args:
        sweeper: set up by Hydra.
        arguments: overrides of the command.

    Raises:
        SystemExit: options that do not fit each other.
    """
    config = sweeper.config
    assert config is not None
    assert sweeper.hydra_context is not None
    assert sweeper.launcher is not None
    folder = Path(config.hydra.sweep.dir)
    parser = OverridesParser.create(config_loader=sweeper.hydra_context.config_loader)
    try:
        named = config.get(GROUP)
        given = parser.parse_overrides([*(() if named is None else named.space), *arguments])
        search = _begun(config, given, folder)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    runs, returns, began = search.space.runs, list[list[JobReturn]](), 0
    watch = sweep.Watch.current
    if watch is not None:
        watch.total = search.total * len(runs)
    keys = [sweep.key_of(text) for text in search.space.fixed]
    with read_write(config), open_dict(config):
        config.hydra.overrides.hydra.append(sweep.unnamed(keys))
    at_once = config.search.at_once or (search.total if search.sampler == "grid" else 1)
    while asked := search.ask(at_once):
        batch = [
            [*search.space.fixed, *_overrides(trial.params), *seeds]
            for trial in asked
            for seeds in runs
        ]
        sweeper.validate_batch_is_legal(batch)
        done = list(sweeper.launcher.launch(batch, initial_job_idx=began))
        returns.append(done)
        for place, trial in enumerate(asked):
            own = done[place * len(runs) : (place + 1) * len(runs)]
            search.tell(trial, [_value(each) for each in own])
        search.write(folder)
        began += len(batch)
    if watch is not None and search.finished():
        named = {key for key in (*keys, *search.space.seeds) if not sweep.is_unnamed(key)}
        wanted = named - {"measure_on"}
        command = ["python", "-m", "lifelong.run", "-m"]
        command += [text for text in arguments if sweep.key_of(text) in wanted]
        command += _overrides(search.ranked()[0].params)
        watch.found = f"{search.found()}; all points: {folder / TABLE}\n"
        watch.found += f"to measure it: {shlex.join(command)}"
    for each in itertools.chain.from_iterable(returns):
        _ = each.return_value  # raises what a run raised
    return returns


def _begun(config: DictConfig, given: Sequence[Override], folder: Path) -> Search:
    sampled = config.get(GROUP)
    grid = sampled is None or sampled.sampler == "grid"
    space = space_of(given, grid)  # refuses several searches, which Hydra does not compose
    options = config.search
    if options.sampler not in SAMPLERS:
        raise ValueError(f"search.sampler={options.sampler}: give {' or '.join(SAMPLERS)}")
    if grid and options.trials is not None:
        raise ValueError(
            f"search.trials={options.trials}: a grid tries all its points; for some of them give "
            "search.sampler=random"
        )
    for key in ("trials", "at_once"):
        if options[key] is not None and not (isinstance(options[key], int) and options[key] > 0):
            raise ValueError(f"search.{key}={options[key]}: give a number of points, 1 or more")
    if not isinstance(options.seed, int):
        raise ValueError(f"search.seed={options.seed}: give a whole number")
    if grid:
        space.grid()
    _decide_on(options, space)
    trials = None if grid else int(options.trials or TRIALS)
    return Search(_study(folder), space, options.sampler, trials, options.seed)


def _decide_on(options: DictConfig, space: Space) -> None:
    """Has all runs of the search learn the first tasks alone, or another stream.

    Options chosen on all tasks of the stream that is then reported have seen its end: see Cha, Cho,
    "Hyperparameters in Continual Learning: A Reality Check", 2024 (arXiv 2403.09066).

    Raises:
        ValueError: no number of tasks, no name of a stream.
    """
    on, tasks = options.get("on"), options.get("tasks")
    if on is not None:
        known = [path.stem for path in (FOLDER / "data").glob("[!_]*.yaml")]
        if on not in known:
            raise ValueError(f"search.on={on}: there is no such stream; --help lists them")
        space.fixed = [text for text in space.fixed if sweep.key_of(text) != "data"]
        space.fixed.append(f"data={on}")
    if tasks is not None:
        if not isinstance(tasks, int) or isinstance(tasks, bool) or tasks < 1:
            raise ValueError(f"search.tasks={tasks}: give a number of tasks, 1 or more")
        space.fixed = [text for text in space.fixed if sweep.key_of(text) != "tasks"]
        space.fixed.append(f"tasks={tasks}")


def _study(folder: Path) -> Study:
    """The study in a sweep's folder, gone on with or new.

    Raises:
        ValueError: a damaged one.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    class Sealed(JournalFileBackend):
        """A journal whose lines have checksums, see `_mend`."""

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            super().append_logs([sealed(log) for log in logs])

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    _mend(folder / STUDY)
    try:
        storage = JournalStorage(Sealed(str(folder / STUDY)))
        known: dict[str, Any] = {
            "storage": storage, "study_name": GROUP, "direction": "maximize", "load_if_exists": True
        }  # fmt: skip
        study = optuna.create_study(**known)
    except Exception as error:  # of many kinds: its lines are JSON, and do not fit each other
        raise ValueError(
            f"{folder / STUDY}: cannot be read ({frame.reason(error)}); put the file away, and the "
            "search begins anew (runs that are finished are not run again)"
        ) from None
    if not any(trial.state.name == "COMPLETE" for trial in study.trials):  # nothing is lost
        optuna.delete_study(study_name=GROUP, storage=storage)
        study = optuna.create_study(**known)
    return study


def _mend(journal: Path) -> None:
    """Cuts off what a kill left half written at the end of a study, and its lock.

    The caller has the folder to itself. A line that is not written to its end was told to nobody.

    Raises:
        ValueError: a study that is damaged elsewhere.
    """
    for lock in journal.parent.glob(f"{STUDY}.lock*"):
        lock.unlink()
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            found = json.loads(line)
            known = isinstance(found, dict) and found.get(SEAL) in (None, seal(found))
        except ValueError:
            known = False
        if not known:
            raise ValueError(
                f"{journal}: line {number} is damaged; put the file away, and the search begins "
                "anew (runs that are finished are not run again)"
            )
    if whole != content:
        write_bytes(journal, whole)


def _value(done: JobReturn) -> float | None:
    return done.return_value if done.status == JobStatus.COMPLETED else None


def _overrides(point: Point) -> list[str]:
    return [f"{key}={value}" for key, value in point.items()]
