"""The ledger: what was published, what runs here gave, and whether the two agree.

A CSV file with a line for each published figure of a row, over all seeds that were run. Lines are
made of run folders alone. Figures are in the units of the tables of `lifelong compare`.
"""

from __future__ import annotations

import csv
import io
import json
import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from lifelong.comparison.groups import Group
from lifelong.comparison.runs import Run
from lifelong.comparison.statistics import summarize, tolerance
from lifelong.comparison.tables import TIMES, WEIGHTS_LEFT, column, published_of
from lifelong.storage.files import read_json, write_text

COLUMNS = (
    *("row", "stream", "metric", "published", "published_deviation", "ours", "deviation"),
    *("difference", "tolerance", "verdict", "extent", "changed", "seeds", "values", "command"),
    *("options", "commit", "machine", "device", "seconds"),
)
SAME = ("row", "metric", "changed", "machine", "device")  # a ledger has one line of them
Line = dict[str, str]


def lines(groups: Iterable[Group]) -> list[Line]:
    """One for each published figure of runs of `experiment=`; see `COLUMNS`.

    The verdict is `within` or `outside` the tolerance: half the 95 % interval of the difference,
    see `lifelong.comparison.statistics.tolerance`; `unknown` where neither side has a deviation;
    `unpublished` of the final accuracy of a row of which nothing is published. What was run last
    comes last.
    """
    rows = [group for group in groups if group.runs[0].choices.get("experiment")]
    return [
        _line(part, place, metric)
        for part, place in sorted(chain.from_iterable(map(_by_place, rows)), key=_finished)
        for metric in figures(part.published)
        if part.values(metric)
    ]


def figures(published: Mapping[str, Any] | None) -> list[str]:
    """The metrics that a row is judged by."""
    return published_figures(published) or ["final_accuracy"]


def published_figures(published: Mapping[str, Any] | None) -> list[str]:
    """Those of what a paper says of a row that are metrics of a run."""
    return [metric for metric in published or () if metric not in (*TIMES, WEIGHTS_LEFT)]


def _by_place(group: Group) -> list[tuple[Group, Line]]:
    """Its runs of each machine and device, and where these were made."""
    parts: dict[tuple[str, str], tuple[list[Run], dict[str, None]]] = {}
    for run in group.runs:
        made = place_of(run.folder)
        runs, commits = parts.setdefault((made["machine"], made["device"]), ([], {}))
        runs.append(run)
        commits[made["commit"]] = None
    return [
        (replace(group, runs=runs), {"machine": m, "device": d, "commit": " ".join(commits)})
        for (m, d), (runs, commits) in parts.items()
    ]


def _finished(part: tuple[Group, Line]) -> float:
    """When the last run of a group ended."""
    return max((run.folder / "results.json").stat().st_mtime for run in part[0].runs)


def _line(group: Group, place: Line, metric: str) -> Line:
    first, factor = group.runs[0], column(metric).factor
    found = {
        int(run.results["seed"]): factor * run.value(metric)
        for run in group.runs
        if not math.isnan(run.value(metric))
    }
    seconds = summarize([run.value("seconds") for run in group.runs]).mean
    names = {"row": first.choices["experiment"], "stream": str(first.results["data"])}
    said = described(metric, group.published, group.changed, group.options, seconds)
    return judged(place | names | said, found)


def described(
    metric: str,
    published: Mapping[str, Any],
    changed: Sequence[str],
    options: Mapping[str, Any],
    seconds: float,
) -> Line:
    """Of a figure of a row what a line says beside its names, its place and what came out."""
    return {
        "metric": metric, **published_cells(published_of(published, metric)),
        "changed": " ".join(changed), "options": digest(options), "seconds": f"{seconds:.0f}",
    }  # fmt: skip


def published_cells(found: tuple[float, float | None] | None) -> Line:
    """Mean and deviation as a line has them."""
    mean, deviation = found or (None, None)
    texts = ("" if value is None else f"{value:.6g}" for value in (mean, deviation))
    return dict(zip(("published", "published_deviation"), texts, strict=True))


def digest(options: Mapping[str, Any]) -> str:
    """Of all options but seeds: a row of another one is another row."""
    text = json.dumps(options, sort_keys=True, default=str)
    return f"{zlib.crc32(text.encode()):08x}"


def place_of(folder: Path) -> Line:
    """Machine, device and commit of a run; the commit with `+` where the checkout had changes."""
    unknown = dict.fromkeys(("commit", "platform", "device"), "unknown")
    path = folder / "environment.json"
    made = unknown | (read_json(path) if path.exists() else {})
    commit = str(made["commit"])
    return {
        "machine": str(made["platform"]), "device": str(made["device"]),
        "commit": commit[:12] + "+" * commit.endswith("+"),
    }  # fmt: skip


def judged(line: Line, found: dict[int, float]) -> Line:
    """A line with what follows from the figures of the seeds, by seed."""
    values = [found[seed] for seed in sorted(found)]
    ours = summarize([float(f"{value:.6g}") for value in values])
    theirs = float(line["published"]) if line["published"] else math.nan
    deviation = float(line["published_deviation"]) if line["published_deviation"] else None
    allowed, difference = tolerance(ours, deviation), ours.mean - theirs
    judgeable = bool(found and line["published"])
    extent = "reduced" if line["changed"] else "full"
    seeds = ",".join(map(str, sorted(found)))
    command = ["lifelong reproduce", line["row"], f"seeds={seeds}" * bool(found), line["changed"]]
    made = line | {
        "ours": _text(ours.mean, 4), "deviation": _text(ours.std),
        "difference": _text(difference), "tolerance": _text(allowed) if judgeable else "",
        "verdict": _verdict(difference, allowed, line) if found else "",
        "extent": extent if found else "begun", "seeds": seeds,
        "values": " ".join(f"{value:.6g}" for value in values),
        "command": " ".join(filter(None, command)),
    }  # fmt: skip
    return {key: made[key] for key in COLUMNS}


def _verdict(difference: float, allowed: float, line: Line) -> str:
    if not line["published"]:
        return "unpublished"
    if math.isnan(allowed):
        return "unknown"
    return "within" if abs(difference) <= allowed else "outside"


def _text(value: float, digits: int = 3) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}g}"


def read(path: Path, columns: Sequence[str] = COLUMNS) -> list[Line]:
    """The lines of a ledger, or of another table; none where there is no file.

    Raises:
        ValueError: a table of other columns.
    """
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        table = csv.DictReader(file)
        found = list(table)
    if tuple(table.fieldnames or ()) != tuple(columns):
        raise ValueError(f"ledger={path}: another table; it has {', '.join(columns)}")
    return found


def write(path: Path, lines: Iterable[Line], columns: Sequence[str] = COLUMNS) -> None:
    """Writes what `read` reads."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(lines)
    write_text(path, text.getvalue())


def record(path: Path, new: Sequence[Line]) -> list[Line]:
    """Puts lines into a ledger, which is written anew; gives them as they stand there.

    Seeds of the same row, options and machine go into one line; a seed that is run again replaces
    what it had. A row that is no longer what it was, in any option, replaces its line. A run that
    is only begun adds nothing to finished ones.
    """
    kept = {_key(line): line for line in read(path)}
    for line in new:
        before = kept.get(_key(line))
        if before is not None and before["options"] != line["options"]:
            before = None
        if before is not None and before["seeds"] and not line["seeds"]:
            continue
        found = {} if before is None else values_of(before)
        merged = judged(line, found | values_of(line))
        if before is not None:
            commits = [*before["commit"].split(), *line["commit"].split()]
            merged["commit"] = " ".join(dict.fromkeys(commits))
        kept[_key(line)] = merged
    write(path, (kept[key] for key in sorted(kept)))
    return [kept[key] for key in dict.fromkeys(map(_key, new))]


def _key(line: Line) -> tuple[str, ...]:
    return tuple(line[name] for name in SAME)


def values_of(line: Line) -> dict[int, float]:
    """The figures of a line, by seed."""
    seeds = map(int, filter(None, line["seeds"].split(",")))
    return dict(zip(seeds, map(float, line["values"].split()), strict=True))


def told(line: Line) -> str:
    """A line for people."""
    if not line["seeds"]:
        return f"{line['row']}: begun; a run takes about {line['seconds']} s of training"
    pairs = ((line["ours"], line["deviation"]), (line["published"], line["published_deviation"]))
    ours, theirs = (f"{mean} +- {spread}" if spread else mean for mean, spread in pairs)
    seeds = line["seeds"].count(",") + 1
    allowed = f"{line['difference']} for at most {line['tolerance']}"
    judged = "no deviation is known" if line["verdict"] == "unknown" else allowed
    verdict = f"published {theirs}: {line['verdict']} ({judged})"
    return (
        f"{line['row']}: {column(line['metric']).heading} {ours} ({seeds} seed{'s' * (seeds > 1)}"
        f"{', ' + line['changed'] if line['changed'] else ''}), "
        f"{verdict if line['published'] else 'nothing is published'}"
    )
