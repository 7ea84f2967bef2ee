"""The ledger: what was published, what runs here gave, and whether the two agree.

A CSV file with a line for each published figure of a row, over all seeds that were run. Lines are
made of run folders alone. Figures are in the units of the tables of `lifelong compare`.
"""

from __future__ import annotations

import csv
import io
import json
import math
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lifelong.comparison.groups import Group, grouped
from lifelong.comparison.runs import Run, digest, options_of
from lifelong.comparison.statistics import summarize, tolerance
from lifelong.comparison.tables import IN_PERCENT, TIMES, WEIGHTS_LEFT, column
from lifelong.configuration.complete import complete
from lifelong.configuration.compose import composed
from lifelong.configuration.overrides import spelled
from lifelong.configuration.plain import as_dict
from lifelong.configuration.stored import read_environment
from lifelong.errors import reason
from lifelong.storage.files import write_text

COLUMNS = (
    *("row", "stream", "metric", "published", "published_deviation", "ours", "deviation"),
    *("difference", "tolerance", "verdict", "extent", "changed", "seeds", "values", "command"),
    *("options", "commit", "machine", "device", "seconds"),
)
SAME = ("row", "metric", "changed", "machine", "device")  # a ledger has one line of them
Line = dict[str, str]


def lines(groups: Iterable[Group]) -> list[Line]:
    """One for each published figure of `of_rows`' groups; see `COLUMNS`.

    The verdict is `within` or `outside` the tolerance: half the 95 % interval of the difference,
    see `lifelong.comparison.statistics.tolerance`; `unknown` where neither side has a deviation;
    `unpublished` of the final accuracy of a row of which nothing is published. What was run last
    comes last.
    """
    return [
        _line(group, place, metric)
        for group, place in ((group, _place(group)) for group in sorted(groups, key=_finished))
        for metric in figures(group.published)
        if group.values(metric)
    ]


def of_rows(runs: Iterable[Run], damaged: dict[Path, str]) -> list[Group]:
    """Runs of `experiment=`, grouped so that each group is of one row, machine, device and change.

    Args:
        runs: finished ones; others than those of rows are left out.
        damaged: gets the runs of which nobody knows any more where they were computed, and why.

    Raises:
        ValueError: see `grouped`.
    """
    parts: dict[str, list[Run]] = {}
    for run in runs:
        row = run.choices.get("experiment")
        if not row:
            continue
        try:
            made = place_of(run.folder, run.config)
        except (OSError, ValueError) as error:
            damaged[run.folder] = reason(error)
            continue
        told = [row, run.config.get("published"), made["machine"], made["device"]]
        key = json.dumps([*told, changes(run.config)], sort_keys=True, default=str)
        parts.setdefault(key, []).append(run)
    return [group for part in parts.values() for group in grouped(part)]


def figures(published: Mapping[str, Any] | None) -> list[str]:
    """The metrics that a row is judged by."""
    return published_figures(published) or ["final_accuracy"]


def published_figures(published: Mapping[str, Any] | None) -> list[str]:
    """Those of what a paper says of a row that are metrics of a run."""
    return [
        metric for metric, figure in (published or {}).items()
        if metric not in (*TIMES, WEIGHTS_LEFT) and not isinstance(figure, Mapping)  # by task
    ]  # fmt: skip


def _place(group: Group) -> Line:
    """Machine and device of a group of `of_rows`, and the commits of its runs."""
    places = [place_of(run.folder, run.config) for run in group.runs]
    commits = dict.fromkeys(commit for place in places for commit in place["commit"].split())
    return places[0] | {"commit": " ".join(commits)}


def changes(config: Mapping[str, Any]) -> str:
    """By what a run is not the row itself: overrides as a shell reads them, always alike."""
    return shlex.join(sorted(map(spelled, config.get("changed") or ())))


def _finished(group: Group) -> float:
    """When the last run of a group ended."""
    return max((run.folder / "results.json").stat().st_mtime for run in group.runs)


def _line(group: Group, place: Line, metric: str) -> Line:
    first, factor = group.runs[0], column(metric).factor
    found = {
        int(run.results["seed"]): factor * run.value(metric)
        for run in group.runs
        if not math.isnan(run.value(metric))
    }
    seconds = summarize([run.value("seconds") for run in group.runs]).mean
    names = {"row": first.choices["experiment"], "stream": str(first.results["data"])}
    said = described(metric, group.published, first.config, first.options, seconds)
    return judged(place | names | said, found)


def described(
    metric: str,
    figures: Mapping[str, Any],
    config: Mapping[str, Any],
    options: Mapping[str, Any],
    seconds: float,
) -> Line:
    """Of a figure of a row what a line says beside its names, its place and what came out."""
    pair = figures[metric][:2] if metric in figures else ()
    published = [_printed(figure, metric in IN_PERCENT) for figure in pair]
    return {
        "metric": metric, **published_cells(published), "changed": changes(config),
        "options": digest(options), "seconds": f"{seconds:.0f}",
    }  # fmt: skip


def _printed(figure: float | str | None, percent: bool) -> float | str | None:
    """A figure of a paper as tables give it, a text with the digits that it has.

    >>> _printed("0.10", True), _printed(0.1, True), _printed("52.0", False), _printed(None, True)
    ('10', 10.0, '52.0', None)
    """
    if isinstance(figure, str):
        float(figure)  # or a ValueError
        return f"{Decimal(figure).scaleb(2 * percent):f}"
    return None if figure is None else (100 if percent else 1) * float(figure)


def published_cells(found: Sequence[float | str | None] | None) -> Line:
    """Mean and deviation as a line has them; a text as it stands, zeros at its end included."""
    mean, deviation = found or (None, None)
    texts = (
        value if isinstance(value, str) else "" if value is None else f"{value:.6g}"
        for value in (mean, deviation)
    )  # fmt: skip
    return dict(zip(("published", "published_deviation"), texts, strict=True))


def digest_now(line: Line, home: str | None = None) -> str | None:
    """The digest of a line's row as it is today; None if there is no such row any more.

    Args:
        line: of the ledger.
        home: folder of a person's own members, of which the row may be.
    """
    try:
        config = composed([f"experiment={line['row']}", *shlex.split(line["changed"])], home)
        OmegaConf.set_struct(config, False)
        complete(config)
    except (HydraException, OmegaConfBaseException, ValueError):
        return None
    return digest(options_of(as_dict(config)))


def place_of(folder: Path, config: Mapping[str, Any]) -> Line:
    """Machine, device and commit of a run; the commit with `+` where the checkout had changes.

    A run that went on elsewhere has all of them, in their order.
    """
    unknown = dict.fromkeys(("commit", "platform", "device"), "unknown")
    there = (folder / "environment.json").exists()
    made = unknown | (read_environment(folder, config) if there else {})
    parts = [*made.get("before", ()), made]
    commits = [str(part["commit"]) for part in parts]
    return {
        "machine": " ".join(dict.fromkeys(str(part["platform"]) for part in parts)),
        "device": ", ".join(dict.fromkeys(str(part["device"]) for part in parts)),
        "commit": " ".join(dict.fromkeys(c[:12] + "+" * c.endswith("+") for c in commits)),
    }


def judged(line: Line, found: dict[int, float]) -> Line:
    """A line with what follows from the figures of the seeds, by seed."""
    values = [found[seed] for seed in sorted(found)]
    ours = summarize([float(f"{value:.6g}") for value in values])
    theirs = float(line["published"]) if line["published"] else math.nan
    deviation = float(line["published_deviation"]) if line["published_deviation"] else None
    difference = ours.mean - theirs
    judgeable = bool(found and line["published"])
    extent = "reduced" if line["changed"] else "full"
    seeds = ",".join(map(str, sorted(found)))
    command = ["lifelong reproduce", line["row"], f"seeds={seeds}" * bool(found), line["changed"]]
    allowed = tolerance(ours, deviation) + rounding(line["published"], line["published_deviation"])
    made = line | {
        "ours": _text(ours.mean, 4), "deviation": _text(ours.std),
        "difference": _text(difference), "tolerance": _text(allowed) if judgeable else "",
        "verdict": _verdict(difference, allowed, line) if found else "",
        "extent": extent if found else "begun", "seeds": seeds,
        "values": " ".join(f"{value:.6g}" for value in values),
        "command": " ".join(filter(None, command)),
    }  # fmt: skip
    return {key: made[key] for key in COLUMNS}


def rounding(*published: str) -> float:
    """Half a unit of the last digit that a paper prints of a figure; the most digits count.

    >>> rounding("63", ""), rounding("52.5", "1.38")
    (0.5, 0.005)
    """
    return 0.5 / 10.0 ** max(len(text.partition(".")[2]) for text in published)


def _verdict(difference: float, allowed: float, line: Line) -> str:
    if not line["published"]:
        return "unpublished"
    if math.isnan(allowed):
        return "unknown"
    return "within" if abs(difference) <= allowed else "outside"


def _text(value: float, digits: int = 3) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}g}"


def read(path: Path) -> list[Line]:
    """The lines of a ledger; none where there is no file.

    Raises:
        ValueError: another table, or a line that is damaged.
    """
    found = read_table(path, COLUMNS)
    for number, line in enumerate(found, 2):
        try:
            judged(line, values_of(line))
            told(line)
            shlex.split(line["changed"])
            float(line["seconds"])
        except (ValueError, KeyError) as error:
            raise ValueError(f"{path}: line {number} is damaged ({error})") from None
    return found


def read_table(path: Path, columns: Sequence[str]) -> list[Line]:
    """The lines of a table of known columns; none where there is no file.

    Raises:
        ValueError: a table of other columns, or a line that is cut off.
    """
    if not path.exists():
        return []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file)
            found, names = list(table), tuple(table.fieldnames or ())
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: is no table of commas in UTF-8 ({error})") from None
    if names and names != tuple(columns):
        raise ValueError(f"ledger={path}: another table; this one has {', '.join(columns)}")
    for number, line in enumerate(found, 2):
        if None in line or None in line.values():
            raise ValueError(f"{path}: line {number} is damaged: it has not {len(columns)} cells")
    return found


def write(path: Path, lines: Iterable[Line], columns: Sequence[str] = COLUMNS) -> None:
    """Writes what `read` reads."""
    text = io.StringIO()
    table = csv.DictWriter(text, columns, lineterminator="\n")
    table.writeheader()
    table.writerows(lines)
    write_text(path, text.getvalue())


def record(
    path: Path,
    new: Sequence[Line],
    note: Callable[[str], Any] = lambda text: None,
    home: str | None = None,
) -> list[Line]:
    """Puts lines into a ledger, which is written anew; gives them as they stand there.

    Seeds of the same row, options and machine go into one line; a seed that is run again replaces
    what it had. A row that is no longer what it was, in any option, replaces its line; a run of a
    row as it was before is left out. A run that is only begun adds nothing to finished ones.

    Args:
        path: of the ledger.
        new: lines of runs.
        note: told what is taken out or left out.
        home: folder of a person's own members, of which rows may be.
    """
    kept, taken = _by_key(read(path), path), list[Line]()
    for line in new:
        before = kept.get(_key(line))
        others = [each for each in kept.values() if _differs(each, line)]
        if before is not None and before["options"] != line["options"]:
            others.append(before)
        now = digest_now(line, home) if others or home else line["options"]
        if now is None and before not in others:  # of other machines, and nobody knows
            now, others = line["options"], []
        if now != line["options"]:
            note(_left_out(line, path, now))
            continue
        for other in others:
            note(_taken_out(other, other is before))
            del kept[_key(other)]
        before = None if before in others else before
        taken.append(line)
        if before is not None and before["seeds"] and not line["seeds"]:
            continue
        found = {} if before is None else values_of(before)
        merged = judged(line, found | values_of(line))
        if before is not None:
            commits = [*before["commit"].split(), *line["commit"].split()]
            merged["commit"] = " ".join(dict.fromkeys(commits))
        kept[_key(line)] = merged
    write(path, (kept[key] for key in sorted(kept)))
    return [kept[key] for key in dict.fromkeys(map(_key, taken))]


def _left_out(line: Line, path: Path, now: str | None) -> str:
    if now is not None:
        return (
            f"{line['row']}: left out, since it is of the row as it was before; to run it anew, "
            "give another out="
        )
    return (
        f"{line['row']}: left out: {path} has runs of it with other options, and it is no row of "
        "lifelong, which would know those of today; give its config_dir=DIR, or remove its line "
        "there"
    )


def _taken_out(line: Line, here: bool) -> str:
    if not here:
        return f"{line['row']}: what {line['machine']} had is of the row as it was before"
    what = f"its seeds {line['seeds']}" if line["seeds"] else "what was begun of it"
    return f"{line['row']}: {what} are taken out, since they are of the row as it was before"


def _by_key(found: Iterable[Line], path: Path) -> dict[tuple[str, ...], Line]:
    """Lines by what a ledger has once; two of the same, of two ledgers put together, are one."""
    kept: dict[tuple[str, ...], Line] = {}
    for line in found:
        other = kept.get(_key(line))
        if other is not None and other["options"] != line["options"]:
            raise ValueError(
                f"{path}: has {line['row']} twice, with other options; remove one of the lines"
            )
        both = {} if other is None else values_of(other)
        kept[_key(line)] = judged(line, both | values_of(line))
    return kept


def _differs(one: Line, other: Line) -> bool:
    """Whether lines, of other machines, are of the same row with other options."""
    same = all(one[name] == other[name] for name in ("row", "metric", "changed"))
    return same and one["options"] != other["options"] and _key(one) != _key(other)


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
