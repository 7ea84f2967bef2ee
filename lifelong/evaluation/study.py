"""Runs read from their folders, grouped by what differs, and averaged over seeds.

Runs are averaged only if they differ by seeds alone. Groups stand in one table if stream,
protocol and what was measured are the same.
"""

from __future__ import annotations

import json
import math
import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Required, TypedDict

import numpy as np

from lifelong import configuration
from lifelong.configuration import SEEDS
from lifelong.evaluation.matrix import against, from_rows
from lifelong.evaluation.record import check_results, check_shape, visited
from lifelong.files import read_json
from lifelong.frame import reason
from lifelong.sweep import FAILURES

FIDELITY = {"clean": "", "authors": ", as released"}
ASKED = {"task": "", "both": "", "class": ", task not given"}
MEASURED = {"test": "", "validation": ", measured on validation images"}
MOST_PAIRED = 6  # groups of which all pairs are tested
ROUNDING = 1e-9  # accuracies that differ by less are equal


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: it was read from.
        results: content of results.json.
        config: its configuration.
        options: the same, flat, but for what changes no result.
    """

    folder: Path
    results: dict[str, Any]
    config: dict[str, Any]
    options: dict[str, Any]

    @property
    def choices(self) -> dict[str, str]:
        """The member of each group of the configuration, where that is known."""
        return self.config.get("choices") or {}

    @property
    def seeds(self) -> tuple[Any, ...]:
        """All that a run of the same options may differ by."""
        return tuple(self.options.get(key) for key in SEEDS)

    def value(self, metric: str) -> float:
        """A metric, or a cost, see `COSTS`; NaN if it has none."""
        found = self.results
        value = COSTS[metric](found) if metric in COSTS else found["metrics"].get(metric)
        return math.nan if value is None else float(value)


# What a run costs, from the content of results.json.
COSTS: dict[str, Callable[[dict[str, Any]], float | None]] = {
    "seconds": lambda found: found["seconds"].get("train"),
    "parameters": lambda found: found["parameters"],
    "bytes": lambda found: (found.get("bytes_after_visit") or [{}])[-1].get("total"),
    "multiply_adds": lambda found: found.get("multiply_adds", {}).get("training_step"),
    "peak_memory": lambda found: found.get("peak_memory", {}).get("process"),
}


@dataclass
class Group:
    """Runs of one method that are alike but for seeds.

    Attributes:
        name: of the method.
        label: its name, and as many of the options in which groups of that name differ as tell
            them apart.
        table: stream and protocol: what must be the same of groups that are compared.
        options: without seeds.
        published: of a paper: metric to mean and, if known, deviation, in its own units.
        runs: in the order of their seeds.
    """

    name: str
    label: str
    table: str
    options: dict[str, Any]
    published: dict[str, Any]
    runs: list[Run] = field(default_factory=list)

    @property
    def changed(self) -> list[str]:
        """Overrides by which a run is not the experiment that the published figures are of."""
        found = (text for run in self.runs for text in run.config.get("changed") or ())
        return list(dict.fromkeys(found))

    def values(self, metric: str) -> list[float]:
        """Of the runs that have it."""
        found = (run.value(metric) for run in self.runs)
        return [value for value in found if not math.isnan(value)]

    def mean(self, metric: str) -> float:
        """Over the runs; NaN if none has it."""
        return spread(self.values(metric)).mean


@dataclass(frozen=True)
class Spread:
    """Of n numbers: mean, standard deviation of the sample, confidence interval of the mean.

    Attributes:
        half: half its width, 95 % by Student's t distribution; NaN of fewer than two numbers.
    """

    n: int
    mean: float
    deviation: float
    half: float


def spread(values: Sequence[float]) -> Spread:
    """See `Spread`.

    >>> spread([1.0, 2.0, 3.0])
    Spread(n=3, mean=2.0, deviation=1.0, half=2.48...)
    """
    n = len(values)
    if n < 2:
        return Spread(n, values[0] if n else math.nan, math.nan, math.nan)
    deviation = statistics.stdev(values)
    return Spread(n, statistics.fmean(values), deviation, _t(n - 1) * deviation / math.sqrt(n))


def _t(freedom: int) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, freedom))


def read(
    folders: Sequence[Path], step: Callable[[int, int], None] = lambda done, total: None
) -> tuple[list[Run], list[Path], dict[Path, str]]:
    """The finished runs below some folders, each once; the folders of all others; what is damaged.

    Others are those still running, stopped, or failed; also those of a sweep that were refused.
    Damaged are runs of which a file cannot be read, with what is wrong.

    Args:
        folders: that hold runs, at any depth.
        step: is called with the number of runs read, and of all.

    Raises:
        ValueError: a folder without runs.
    """
    places: dict[Path, None] = {}
    for folder in folders:
        found = _places(folder)
        if not found:
            raise ValueError(f"{folder}: holds no runs (no results.json)")
        places |= dict.fromkeys(found)
    runs, unfinished, damaged = [], [], {}
    for number, place in enumerate(places, 1):
        try:
            run = _run(place)
            if run is None:
                unfinished.append(place)
            else:
                runs.append(run)
        except ValueError as error:
            damaged[place] = str(error)
        step(number, len(places))
    return runs, unfinished, damaged


def _places(folder: Path) -> list[Path]:
    """Folders of runs below a folder, whatever became of them."""
    begun = (path.parent for path in folder.rglob("environment.json"))
    measured = (path.parent for path in folder.rglob("results.json"))
    known = {path for path in (*begun, *measured) if (path / "config.yaml").exists()}
    refused = {path.parent.parent / path.stem for path in folder.rglob(f"{FAILURES}/*.txt")}
    return sorted(path.resolve() for path in known | refused)


def _run(place: Path) -> Run | None:
    """The run in a folder if it is finished."""
    path = place / "results.json"
    if not path.exists():
        return None
    results = read_json(path, {"status"})
    if results["status"] != "finished":
        return None
    check_results(path, results)
    config = configuration.read_plain(place / "config.yaml")
    check_shape(place / "config.yaml", config, _Config)
    leaves = configuration.plain_leaves(config)
    run = Run(place, results, config, {key: _plain(value) for key, value in leaves})
    try:
        table_of(run)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: is damaged ({reason(error)})") from None
    return run


class _Config(TypedDict, total=False):
    """What tables take from config.yaml; a part of what is in it."""

    epochs: Required[int]
    batch_size: Required[int]
    choices: dict[str, str] | None
    changed: list[str] | None
    published: dict[str, Any] | None


def _plain(value: Any) -> Any:
    """100 for 100.0: the same number, however it was written."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def grouped(runs: Sequence[Run], by: Sequence[str] = ()) -> list[Group]:
    """Runs that may be averaged, together, in the order of tables and labels.

    Args:
        runs: finished ones.
        by: dotted keys of options that alone tell groups of a method apart; all by default.

    Raises:
        ValueError: `by` would average runs that differ in more than seeds, or two runs of the same
            options and seeds have other results.
    """
    groups: dict[str, Group] = {}
    unknown = [key for key in by if not any(key in {**run.choices, **run.options} for run in runs)]
    if unknown:
        raise ValueError(f"--by {unknown[0]}: no run has such an option; table and page name them")
    for run in runs:
        options = {key: value for key, value in run.options.items() if key not in (*SEEDS, "name")}
        name, table = run.results["strategy"], table_of(run)
        known = {**run.choices, **options}
        told = {key: known.get(key) for key in by} if by else options
        key = json.dumps([table, name, told], default=str, sort_keys=True)
        on_test = run.results.get("measured_on", "test") == "test"
        published = (run.config.get("published") or {}) if on_test else {}
        group = groups.setdefault(key, Group(name, name, table, options, published))
        _check_alike(group, run, options)
        if _is_new(group, run):
            group.runs.append(run)
    made = [groups[key] for key in sorted(groups)]
    for group in made:
        group.runs.sort(key=lambda run: str(run.seeds))
    _tell_apart(made)
    return made


def refer(runs: Sequence[Run], references: Sequence[Group]) -> None:
    """Gives runs their intransigence and knowledge transfer against other runs of the same stream.

    Args:
        runs: which get metrics `intransigence_<reference>` and `knowledge_transfer_<reference>`.
        references: such as `joint` or `single_task`; of each the mean over its seeds counts.

    Raises:
        ValueError: a run whose stream no reference has learned.
    """
    for run in runs:
        results = run.results
        same = [(group, alike) for group in references if (alike := _of_stream(group, run))]
        if not same:
            raise ValueError(
                f"--reference: no run of it has learned the tasks of {run.folder} "
                f"({results['data']}, {_many(len(results['tasks']), 'task')})"
            )
        ours = from_rows(results["accuracy"], len(results["tasks"]))
        for group, others in same:
            ends = [from_rows(r.results["accuracy"], len(results["tasks"]))[-1] for r in others]
            found = against(ours, visited(results), np.mean(ends, 0).tolist())
            name = re.sub(r"\W+", "_", group.label)
            results["metrics"] |= {f"{key}_{name}": value for key, value in found.items()}


def _of_stream(group: Group, run: Run) -> list[Run]:
    """The runs of a group that have learned the same tasks in the same order, asked alike."""
    keys = ("data", "tasks", "evaluate", "measured_on")
    options = (*ORDERS, *SCENARIO)
    return [
        other
        for other in group.runs
        if all(run.results.get(key) == other.results.get(key) for key in keys)
        and all(run.options.get(key) == other.options.get(key) for key in options)
    ]


def table_of(run: Run) -> str:
    """What runs in one table have in common: the stream, how it is learned and measured."""
    results, config = run.results, run.config
    images = results.get("images", {})
    counts = [sum(images.get(part, [])) for part in ("train", "test")]
    pool = results.get("method", {}).get("unlabeled", "none")
    return (
        f"{results['data']}: {_many(len(results['tasks']), 'task')}, "
        f"{_many(config['epochs'], 'epoch')}, batch "
        f"{config['batch_size']}"
        + (f", {counts[0]:,} training and {counts[1]:,} test images" if any(counts) else "")
        + ("" if pool == "none" else f", unlabeled images: {pool}")
        + "".join(
            f", {key.removeprefix('data.')} {value}"
            for key, plain in SCENARIO.items()
            if (value := run.options.get(key, plain)) != plain
        )
        + FIDELITY[results.get("fidelity") or "clean"]
        + MEASURED[results.get("measured_on", "test")]
        + ASKED[results.get("evaluate", "task")]
    )


ORDERS = ("data.class_seed", "data.order_seed")  # seeds of the order of classes and of tasks
# Options of a stream that make another one of it, and what they are where nothing is said.
SCENARIO = {
    "data.labels": "own", "data.blurry": 0.0, "data.online": False, "data.order": None,
    "data.repeat": 1,
}  # fmt: skip


def _many(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _check_alike(group: Group, run: Run, options: dict[str, Any]) -> None:
    others = sorted(
        key
        for key in options.keys() | group.options.keys()
        if str(options.get(key)) != str(group.options.get(key))
    )
    if others:
        key = others[0]
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise ValueError(
            f"--by: {group.runs[0].folder} and {run.folder} are not averaged: {key} is "
            f"{group.options.get(key)} and {options.get(key)}{more}; add {key} to --by"
        )


def _is_new(group: Group, run: Run) -> bool:
    """Whether no run of these seeds is there; a copy of one does not count twice."""
    for other in group.runs:
        if other.seeds == run.seeds:
            if other.results["accuracy"] != run.results["accuracy"]:
                raise ValueError(
                    f"{other.folder} and {run.folder}: the same options and seeds gave different "
                    "results (other versions, or another machine?); leave one of them out"
                )
            return False
    return True


def _tell_apart(made: Sequence[Group]) -> None:
    """Adds to the labels of groups of one method in a table what tells them apart.

    Members of groups of the configuration come first, then options by the length of their keys.
    """
    alike: dict[tuple[str, str], list[Group]] = {}
    for group in made:
        alike.setdefault((group.table, group.name), []).append(group)
    for some in alike.values():
        ways = [{**group.runs[0].choices, **group.options} for group in some]
        chosen = {key for group in some for key in group.runs[0].choices}
        keys = {key for way in ways for key in way}
        for key in sorted(keys, key=lambda key: (key not in chosen, len(key), key)):
            shown = [f"{key}={way.get(key)}" for way in ways]
            longer = [f"{group.label} {text}" for group, text in zip(some, shown, strict=True)]
            if len(set(longer)) > len({group.label for group in some}):
                for group, label in zip(some, longer, strict=True):
                    group.label = label


def differing(groups: Sequence[Group]) -> list[str]:
    """The options in which groups differ, by key."""
    keys = {key for group in groups for key in group.options}
    return sorted(key for key in keys if len({str(g.options.get(key)) for g in groups}) > 1)


def best(groups: Sequence[Group]) -> list[Group]:
    """Of the groups of each method in a table the one of the highest mean final accuracy."""
    chosen: dict[tuple[str, str], Group] = {}
    for group in groups:
        key = group.table, group.name
        if key not in chosen or group.mean("final_accuracy") > chosen[key].mean("final_accuracy"):
            chosen[key] = group
    return list(chosen.values())


def tables(groups: Sequence[Group]) -> Iterator[tuple[str, list[Group]]]:
    """Groups by the table that they stand in."""
    for name in dict.fromkeys(group.table for group in groups):
        yield name, [group for group in groups if group.table == name]


@dataclass(frozen=True)
class Pair:
    """Two methods over the seeds that both have.

    Attributes:
        one, other: their labels.
        n: seeds in common.
        difference: mean of one - other.
        half: half width of its 95 % confidence interval (Student's t).
        p: of the paired t-test; NaN where all differences are equal.
        adjusted: by Holm over the pairs of a table.
    """

    one: str
    other: str
    n: int
    difference: float
    half: float
    p: float
    adjusted: float


def pairs(groups: Sequence[Group], metric: str = "final_accuracy") -> list[Pair]:
    """Paired t-tests between the groups of a table that have two seeds or more in common.

    Of more than `MOST_PAIRED` groups only the one of the highest mean is compared with the others.
    """
    from scipy.stats import t

    found, asked = [], list(combinations(groups, 2))
    if len(groups) > MOST_PAIRED:
        first = max(groups, key=lambda group: group.mean(metric))
        asked = [(first, group) for group in groups if group is not first]
    for one, other in asked:
        ours, theirs = _by_seeds(one, metric), _by_seeds(other, metric)
        both = [(value, theirs[seeds]) for seeds, value in ours.items() if seeds in theirs]
        both = [pair for pair in both if not any(map(math.isnan, pair))]
        if len(both) < 2:
            continue
        differences = spread([a - b for a, b in both])
        p = math.nan
        if differences.deviation > ROUNDING:
            error = differences.deviation / math.sqrt(differences.n)
            p = 2 * float(t.sf(abs(differences.mean) / error, differences.n - 1))
        found.append((one, other, differences, p))
    adjusted = holm([p for *_, p in found])
    return [
        Pair(one.label, other.label, d.n, d.mean, d.half, p, corrected)
        for (one, other, d, p), corrected in zip(found, adjusted, strict=True)
    ]


def _by_seeds(group: Group, metric: str) -> dict[tuple[Any, ...], float]:
    """A metric by all seeds but `strategy.run`, the last one, if they tell the runs apart."""
    found = {run.seeds[:-1]: run.value(metric) for run in group.runs}
    if len(found) < len(group.runs):
        return {run.seeds: run.value(metric) for run in group.runs}
    return found


def holm(values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (Holm 1979); NaN stay and do not count.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted((i for i, p in enumerate(values) if not math.isnan(p)), key=lambda i: values[i])
    adjusted, highest = [math.nan] * len(values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * values[i]))
        adjusted[i] = round(highest, 12)
    return adjusted


def curves(groups: Sequence[Group], option: str) -> dict[str, list[tuple[float, list[Any]]]]:
    """Pairs of a numeric option's value and the metrics of its runs, by what else is the same.

    The names of the curves say method and stream, and as far as curves differ in them the images
    measured and other options.
    """
    families: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        if isinstance(group.options.get(option), int | float):
            data = str(group.runs[0].results["data"])
            families.setdefault((group.name, data), []).append(group)
    made: dict[str, list[tuple[float, list[Any]]]] = {}
    for (method, data), some in families.items():
        measured = [str(group.runs[0].results.get("measured_on", "test")) for group in some]
        told = [key for key in differing(some) if key != option]
        told += ["measured_on"] if len(set(measured)) > 1 else []
        for group, images in zip(some, measured, strict=True):
            own = {**group.options, "measured_on": images}
            name = ", ".join([method, data, *(f"{key}={own.get(key)}" for key in sorted(told))])
            metrics = [run.results["metrics"] for run in group.runs]
            made.setdefault(name, []).append((float(group.options[option]), metrics))
    return made
