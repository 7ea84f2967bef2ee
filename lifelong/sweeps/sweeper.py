"""Searches for options: `python -m lifelong.run -m search=tpe lr=tag(log,interval(1e-4,1e-1))`.

A search is a sweep whose points are chosen by Optuna, or all points of a grid. A point is one value
for every option that is searched; each is run with every seed of the command, and its value is the
mean final accuracy on validation images. The study lies in the sweep's folder: the same command
goes on, first with the points whose runs failed or were interrupted.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import DictConfig, open_dict, read_write

from lifelong.configuration.compose import FOLDER
from lifelong.configuration.members import config_dir_of
from lifelong.configuration.overrides import is_unnamed, key_of, sweep_command, unnamed
from lifelong.sweeps.space import GROUP, Space, space_of
from lifelong.sweeps.study import SAMPLERS, TABLE, Search, overrides_of, study_in
from lifelong.sweeps.watch import SweepMonitor

TRIALS = 20  # points, of samplers that could go on for ever


def is_search() -> bool:
    """Whether the sweep of this process is a search."""
    return SweepMonitor.current is not None and SweepMonitor.current.plan.searches


def all_looked_at() -> bool:
    """Whether each run of the sweep of this process was composed and looked at before it began."""
    return SweepMonitor.current is not None and SweepMonitor.current.plan.looked_at


def run_search(sweeper: BasicSweeper, arguments: Sequence[str]) -> list[list[JobReturn]]:
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
    watch = SweepMonitor.current
    if watch is not None:
        watch.total = search.total * len(runs)
    keys = [key_of(text) for text in search.space.fixed]
    with read_write(config), open_dict(config):
        config.hydra.overrides.hydra.append(unnamed(keys))
    at_once = config.search.at_once or (search.total if search.sampler == "grid" else 1)
    while asked := search.ask(at_once):
        batch = [
            [*search.space.fixed, *overrides_of(trial.params), *seeds]
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
        named = {key for key in (*keys, *search.space.seeds) if not is_unnamed(key)}
        wanted = named - {"measure_on"}
        again = [text for text in arguments if key_of(text) in wanted]
        again += overrides_of(search.ranked()[0].params)
        watch.found = f"{search.found()}; all points: {folder / TABLE}\n"
        watch.found += f"to measure it: {sweep_command(again, config_dir_of(sys.argv[1:]))}"
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
    return Search(study_in(folder), space, options.sampler, trials, options.seed)


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
        space.fixed = [text for text in space.fixed if key_of(text) != "data"]
        space.fixed.append(f"data={on}")
    if tasks is not None:
        if not isinstance(tasks, int) or isinstance(tasks, bool) or tasks < 1:
            raise ValueError(f"search.tasks={tasks}: give a number of tasks, 1 or more")
        space.fixed = [text for text in space.fixed if key_of(text) != "tasks"]
        space.fixed.append(f"tasks={tasks}")


def _value(done: JobReturn) -> float | None:
    return done.return_value if done.status == JobStatus.COMPLETED else None
