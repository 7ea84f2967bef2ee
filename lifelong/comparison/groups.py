"""Runs grouped by what differs, to be averaged over seeds.

Runs are averaged only if they differ by seeds alone. Groups stand in one table if stream,
protocol and what was measured are the same.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from lifelong.comparison.runs import (
    ORDERS,
    SCENARIO,
    Run,
    digest,
    images_of,
    many,
    options_of,
    said_of,
    stream_of,
    table_of,
    unseeded,
)
from lifelong.comparison.statistics import summarize
from lifelong.configuration.overrides import key_of
from lifelong.configuration.stored import SEEDS, read_plain
from lifelong.measures.matrix import against, from_rows
from lifelong.measures.metrics import of_images
from lifelong.storage.results import visited

RETRAINED = "strategy.run"  # of another seed, another folder; and maybe of another method
OF_TRAINING = ("data.validation", "data.per_class")  # in which a reference may differ


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
        free = {*SEEDS} - {*ORDERS}  # over which runs are averaged
        return list(dict.fromkeys(text for text in found if key_of(text) not in free))

    def values(self, metric: str) -> list[float]:
        """Of the runs that have it."""
        found = (run.value(metric) for run in self.runs)
        return [value for value in found if not math.isnan(value)]

    def mean(self, metric: str) -> float:
        """Over the runs; NaN if none has it."""
        return summarize(self.values(metric)).mean


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
    figures: dict[str, list[dict[str, Any]]] = {}  # published ones
    places = _places(runs)
    _check_by(by, runs)
    for run, table in zip(runs, places, strict=True):
        options = {k: v for k, v in unseeded(run.options).items() if k in by or not _measures(k)}
        if RETRAINED in run.options:
            options[RETRAINED] = _source(run)
        name = run.results["strategy"]
        known = {**run.choices, **options}
        told = {key: known.get(key) for key in by} if by else options
        key = json.dumps([table, name, told], default=str, sort_keys=True)
        published = said_of(run.config, run.results.get("measured_on", "test"))
        group = groups.setdefault(key, Group(name, name, table, options, {}))
        if published and published not in figures.setdefault(key, []):
            figures[key].append(published)
        _check_alike(group, run, options)
        if _is_new(group, run):
            group.runs.append(run)
    order = sorted(groups, key=_natural)
    made = [groups[key] for key in order]
    for key, group in zip(order, made, strict=True):
        said = figures.get(key, [])
        group.published = said[0] if len(said) == 1 else {}  # of several nobody knows which
        group.runs.sort(key=lambda run: str(run.seeds))
    _tell_apart(made, by)
    return made


def _check_by(by: Sequence[str], runs: Sequence[Run]) -> None:
    for key in by:
        if key in (*SEEDS, "name"):
            raise ValueError(
                f"by={key}: runs are averaged over it; lifelong.results(folder) has a row for each"
            )
        if not any(key in {**run.choices, **run.options} for run in runs):
            raise ValueError(f"by={key}: no run has such an option; table and page name them")


def _measures(key: str) -> bool:
    """Whether an option only says what is measured beside accuracy, which changes nothing."""
    return key in ("costs", "plasticity", "measure") or key.startswith("measure.")


def _natural(text: str) -> list[str | float]:
    """By which texts are in the order of the numbers in them.

    >>> sorted(["n=10", "n=9", "n=1e-05"], key=_natural)
    ['n=1e-05', 'n=9', 'n=10']
    """
    parts = re.split(r"(\d+(?:\.\d+)?(?:e[-+]?\d+)?)", text)
    return [float(part) if place % 2 else part for place, part in enumerate(parts)]


def _source(run: Run) -> str:
    """What a ticket that is trained once more is of: a method and its options, without seeds.

    The run that found it lies where it did, or beside this one. Of one that is gone its folder
    stands for it: nobody knows what may be averaged.
    """
    told = Path(str(run.options[RETRAINED])).expanduser()
    beside = run.folder.parent / told.name
    folder = told if (told / "config.yaml").exists() else beside
    try:
        config = read_plain(folder / "config.yaml")
        name = (config.get("choices") or {}).get("strategy", "")
    except (OSError, ValueError, KeyError, AttributeError):
        return str(told)
    return f"{name} {digest(options_of(config))}".strip()


@dataclass
class _Place:
    """A table, before it has its name.

    Attributes:
        stream: the options that make it.
        images: their numbers, by the classes of each task.
        runs: that stand in it.
        name: of it.
    """

    stream: dict[str, Any]
    images: dict[str, tuple[int, int]]
    runs: list[Run] = field(default_factory=list)
    name: str = ""

    def holds(self, other: _Place) -> bool:
        """Whether the stream is the same, and so many images are there of the same classes."""
        alike = (self.images.get(task, own) == own for task, own in other.images.items())
        return self.stream == other.stream and all(alike)


def _places(runs: Sequence[Run]) -> list[str]:
    """The table of each run: of the same protocol, stream and images.

    Classes that seeds deal out make tasks of other numbers of images; tasks of the same classes
    with other numbers are other images.
    """
    known: dict[str, list[_Place]] = {}  # by the protocol
    found = []
    for run in runs:
        own = _Place(stream_of(run), images_of(run))
        there = known.setdefault(table_of(run), [])
        place = next((each for each in there if each.holds(own)), own)
        there += [own] if place is own else []
        place.images |= own.images
        place.runs.append(run)
        found.append(place)
    for some in known.values():
        _name(some)
    return [place.name for place in found]


def _name(places: Sequence[_Place]) -> None:
    """Names tables of one protocol by what tells them apart."""
    keys = sorted({key for place in places for key in place.stream})
    told = [key for key in keys if len({str(place.stream.get(key)) for place in places}) > 1]
    for place in places:
        name = table_of(place.runs[0], _counts(place.runs))
        name += "".join(f", {key.removeprefix('data.')} {place.stream.get(key)}" for key in told)
        while any(name == other.name for other in places):  # as many, of another state of a set
            name += ", other images"
        place.name = name


def _counts(runs: Sequence[Run]) -> str:
    """How many images they have, as a table's title says it."""
    sums = [
        tuple(sum(run.results.get("images", {}).get(part, [])) for part in ("train", "test"))
        for run in runs
    ]
    if not any(map(any, sums)):
        return ""
    train, test = (
        f"{min(part):,}" if len({*part}) == 1 else f"{min(part):,} to {max(part):,}"
        for part in zip(*sums, strict=True)
    )
    return of_images(f", {train} training and {test} test images", runs[0].results)


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
                f"reference: no run of it has learned the tasks of {run.folder} "
                f"({results['data']}, {many(len(results['tasks']), 'task')})"
            )
        ours = from_rows(results["accuracy"], len(results["tasks"]))
        names = _apart([re.sub(r"\W+", "_", group.label) for group, _ in same])
        for name, (_, others) in zip(names, same, strict=True):
            ends = [from_rows(r.results["accuracy"], len(results["tasks"]))[-1] for r in others]
            found = against(ours, visited(results), np.mean(ends, 0).tolist())
            results["metrics"] |= {f"{key}_{name}": value for key, value in found.items()}


def _apart(names: Sequence[str]) -> list[str]:
    """Names, of which those that an earlier one has get a number."""
    return [
        f"{name}_{names[:place].count(name) + 1}" if name in names[:place] else name
        for place, name in enumerate(names)
    ]


def _of_stream(group: Group, run: Run) -> list[Run]:
    """The runs of a group that have learned the same tasks in the same order, asked alike."""
    keys = ("data", "tasks", "classes", "evaluate", "measured_on")
    options = (*ORDERS, *SCENARIO)
    made = {key: value for key, value in stream_of(run).items() if key not in OF_TRAINING}
    return [
        other
        for other in group.runs
        if all(run.results.get(key) == other.results.get(key) for key in keys)
        and all(run.options.get(key) == other.options.get(key) for key in options)
        and made == {k: v for k, v in stream_of(other).items() if k not in OF_TRAINING}
    ]


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
            f"by: {group.runs[0].folder} and {run.folder} are not averaged: {key} is "
            f"{group.options.get(key)} and {options.get(key)}{more}; add {key} to by"
        )


def _is_new(group: Group, run: Run) -> bool:
    """Whether no run of these seeds is there; a copy of one does not count twice.

    What was measured in one of them alone is taken from it.
    """
    for place, other in enumerate(group.runs):
        if other.seeds == run.seeds:
            if other.results["accuracy"] != run.results["accuracy"]:
                raise ValueError(
                    f"{other.folder} and {run.folder}: the same options and seeds gave different "
                    "results (other versions, or another machine?); leave one of them out"
                )
            ours, more = other.results, run.results
            both = {key: ours.get(key) or more.get(key) for key in more | ours}
            both["metrics"] = more["metrics"] | ours["metrics"]
            group.runs[place] = replace(other, results=both)
            return False
    return True


def _said(value: Any) -> str:
    """A value as an option has it.

    >>> _said(None), _said(False), _said(0.5), _said("None")
    ('null', 'false', '0.5', 'None')
    """
    plain = value is None or isinstance(value, bool)
    return {"None": "null"}.get(str(value), str(value).lower()) if plain else str(value)


def _tell_apart(made: Sequence[Group], first: Sequence[str]) -> None:
    """Adds to the labels of groups of one method in a table what tells them apart.

    Some keys come first, then members of groups of the configuration, then options by the length of
    their keys.
    """
    alike: dict[tuple[str, str], list[Group]] = {}
    for group in made:
        alike.setdefault((group.table, group.name), []).append(group)
    for some in alike.values():
        ways = [{**group.runs[0].choices, **group.options} for group in some]
        chosen = {key for group in some for key in group.runs[0].choices}
        keys = {key for way in ways for key in way}
        order = {key: (key not in first, key not in chosen, len(key), key) for key in keys}
        for key in sorted(keys, key=order.__getitem__):
            shown = [f"{key}={_said(way.get(key))}" for way in ways]
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
        key, value = (group.table, group.name), group.mean("final_accuracy")
        known = chosen[key].mean("final_accuracy") if key in chosen else math.nan
        if key not in chosen or value > known or math.isnan(known):
            chosen[key] = group
    return list(chosen.values())


def tables(groups: Sequence[Group]) -> Iterator[tuple[str, list[Group]]]:
    """Groups by the table that they stand in."""
    for name in dict.fromkeys(group.table for group in groups):
        yield name, [group for group in groups if group.table == name]


def curves(groups: Sequence[Group], option: str) -> dict[str, list[tuple[float, list[Any]]]]:
    """Pairs of a numeric option's value and the metrics of its runs, by what else is the same.

    The names of the curves say method and stream, and as far as curves differ in them the images
    measured and other options.
    """
    families: dict[tuple[str, str], list[Group]] = {}
    for group in groups:
        if is_number(group.options.get(option)):
            data = str(group.runs[0].results["data"])
            families.setdefault((group.name, data), []).append(group)
    made: dict[str, list[tuple[float, list[Any]]]] = {}
    for (method, data), some in families.items():
        measured = [str(group.runs[0].results.get("measured_on", "test")) for group in some]
        told = [key for key in differing(some) if key != option and not _follows(some, key, option)]
        told += ["measured_on"] if len(set(measured)) > 1 else []
        for group, images in zip(some, measured, strict=True):
            own = {**group.options, "measured_on": images}
            name = ", ".join(
                [method, data, *(f"{key}={_said(own.get(key))}" for key in sorted(told))]
            )
            metrics = [run.results["metrics"] for run in group.runs]
            made.setdefault(name, []).append((float(group.options[option]), metrics))
    return made


def is_number(value: Any) -> bool:
    """Whether an option's value can stand on an axis."""
    return isinstance(value, int | float)


def _follows(groups: Sequence[Group], key: str, option: str) -> bool:
    """Whether an option has another value with each value of another, and only then."""
    pairs = {(str(each.options.get(option)), str(each.options.get(key))) for each in groups}
    return len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})
