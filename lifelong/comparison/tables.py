"""Groups of runs as Markdown, CSV and LaTeX tables."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lifelong.comparison.groups import Group, differing, tables
from lifelong.comparison.paired import MOST_PAIRED, Pair, pairs
from lifelong.comparison.runs import ORDERS, Run
from lifelong.comparison.statistics import Summary, summarize
from lifelong.configuration.stored import SEEDS
from lifelong.measures.metrics import (
    APART,
    WITHOUT_TASK,
    Metric,
    heads_apart,
    is_accuracy,
    metric_of,
)

COLUMNS = (  # metrics that stand in tables
    *("final_accuracy", "final_accuracy_class", "final_accuracy_task"),
    *("average_accuracy", "average_accuracy_class", "average_accuracy_task"),
    *("learning_accuracy", "learning_accuracy_class", "learning_accuracy_task", "peak_accuracy"),
    *("forgetting", "forgetting_class", "forgetting_task"),
    *("backward_transfer", "backward_transfer_class", "backward_transfer_task"),
    *("backward_transfer_with_last", "forgetting_ratio", "forward_transfer"),
    "forward_transfer_task",
    *("anytime_accuracy", "minimum_accuracy", "worst_case_accuracy"),
)
# Those that stand in the CSV file, and in the others only beside a paper's.
IN_CSV = (
    *("average_accuracy_class", "learning_accuracy_class", "backward_transfer_class"),
    *("average_accuracy_task", "learning_accuracy_task", "backward_transfer_task"),
    *("forgetting_task", "backward_transfer_with_last"),
)
IN_PERCENT = ("forgetting",)  # those that papers give as a share of 1, and tables in percent
# What a paper may say of times: seconds of training; and that time over the time of another method,
# as `relative_time: [6.55, lasem_hps]`.
TIMES = {"seconds": "published seconds", "relative_time": "time over another's"}
WEIGHTS_LEFT = "weights_left"  # likewise: of runs with masks, % after each task
# Costs that stand in tables beside parameters and seconds, where runs have them: heading and unit.
MORE_COSTS = {
    "bytes": ("MB kept", 1e6),
    "multiply_adds": ("multiply-adds of a step, 10^6", 1e6),
    "capacity": ("weights taken, %", 0.01),
}
REFERRED = ("intransigence_", "knowledge_transfer_")  # begin the names of metrics of references
NOTE = (
    "Mean +- standard deviation of the sample over n runs that differ by seeds alone [95 % "
    "confidence interval of the mean, Student's t; of accuracies cut at 0 and 100]. Bold: the best "
    "mean, and those within its interval; the paired tests, which know the seeds, may tell more or "
    "fewer apart."
)
HEADS = "heads._target_"
PAIRED = (
    "Final accuracy of one method less that of the other over the seeds that both have, in points "
    "[95 % confidence interval]; p of the paired t-test, and adjusted by Holm. Of more than "
    f"{MOST_PAIRED} rows the best one is compared with each other."
)


def scaled(group: Group, metric: str) -> Summary:
    """A metric of a group in the units of its column."""
    factor = column(metric).factor
    return summarize([factor * value for value in group.values(metric)])


def column(metric: str) -> Metric:
    """How a metric of `COLUMNS`, or a cost, is shown."""
    if metric in MORE_COSTS:
        return Metric(metric, metric, MORE_COSTS[metric][0], 1, 0)
    return metric_of(metric) or Metric(metric, metric, metric, 1, 4)


def published(group: Group, metric: str) -> tuple[float, float | None] | None:
    """Mean and deviation that a paper gives, in the units of the column."""
    return published_of(group.published, metric)


def published_of(figures: Mapping[str, Any], metric: str) -> tuple[float, float | None] | None:
    """See `published`; of a paper's figures in its own units."""
    if metric not in figures:
        return None
    factor = 100 if metric in IN_PERCENT else 1
    mean, deviation = figures[metric]
    return factor * float(mean), None if deviation is None else factor * float(deviation)


def text(
    found: Summary, digits: int | None, least: float = -math.inf, most: float = math.inf
) -> str:
    """A cell.

    Args:
        found: what is in it.
        digits: behind the point; None: as many as a number of unknown size needs.
        least: that there can be, where the interval ends: 0 of seconds and of shares.
        most: likewise.

    >>> text(summarize([1.0, 2.0, 3.0]), 1), text(summarize([98.0, 99.0, 99.0]), 1, 0, 100)
    ('2.0 +- 1.0 [-0.5, 4.5]', '98.7 +- 0.6 [97.2, 100.0]')
    >>> text(summarize([2e-7, 3e-7]), None)
    '2.5e-07 +- 7.1e-08 [-3.853e-07, 8.853e-07]'
    """
    if not found.n:
        return "-"
    form, short = ("z.4g", ".2g") if digits is None else (f"z.{digits}f", f".{digits}f")
    if found.n == 1:
        return f"{found.mean:{form}}"
    low, high = max(found.mean - found.ci95, least), min(found.mean + found.ci95, most)
    return f"{found.mean:{form}} +- {found.std:{short}} [{low:{form}}, {high:{form}}]"


@dataclass(frozen=True)
class Grid:
    """A table as texts, with numbers to sort by; NaN where a cell is no number.

    Attributes:
        tests: between its rows.
        options: heads and rows of all options in which its rows differ.
        notes: to be read with it.
        best: which cells hold the best mean of their column, or one within the confidence interval
            of it, by row; nothing where there is one row.
    """

    title: str
    heads: list[str]
    rows: list[list[str]]
    keys: list[list[float]]
    tests: list[Pair]
    options: tuple[list[str], list[list[str]]]
    notes: list[str]
    best: list[list[bool]]


def grids(
    groups: Sequence[Group], against_paper: bool = False, columns: Sequence[str] = ()
) -> list[Grid]:
    """A table for each stream and protocol.

    Args:
        groups: see `lifelong.comparison.groups.grouped`.
        against_paper: put published figures and the difference beside ours.
        columns: names of metrics and costs that are shown, in this order, such as `final_accuracy`,
            for which `final` will do; all by default.

    Raises:
        ValueError: a column that no run has.
    """
    asked = _asked(columns, groups) if columns else []
    return [_grid(title, some, against_paper, asked) for title, some in tables(groups)]


def _asked(columns: Sequence[str], groups: Sequence[Group]) -> list[str]:
    there = [*_metrics(groups), *_costs(groups)]
    more = (name for group in groups for run in group.runs for name in run.results["metrics"])
    return chosen(columns, list(dict.fromkeys([*there, *more])))


def _metrics(groups: Sequence[Group]) -> list[str]:
    names = (*COLUMNS, *_of_measures(groups))
    return [metric for metric in names if any(group.values(metric) for group in groups)]


def _costs(groups: Sequence[Group]) -> list[str]:
    return [cost for cost in COST_COLUMNS if any(group.values(cost) for group in groups)]


def chosen(columns: Sequence[str], there: Sequence[str]) -> list[str]:
    """Those of some names that are asked for; all where nothing is.

    >>> chosen(["final", "forgetting"], ["forgetting", "final_accuracy", "seconds"])
    ['final_accuracy', 'forgetting']
    """
    found = []
    for asked in columns:
        meant = [name for name in there if asked in _names_of(name)]
        if not meant:
            raise ValueError(f"columns={asked}: no run has it; give some of {', '.join(there)}")
        found += [name for name in meant if name not in found]
    return found if columns else list(there)


def _names_of(name: str) -> tuple[str, ...]:
    """A metric, also without `_accuracy`, and by its column's head, such as `ratio`."""
    return name, name.removesuffix("_accuracy"), column(name).heading.removesuffix(" %")


COST_COLUMNS = ("parameters", *MORE_COSTS, "seconds")


def _grid(
    title: str, groups: Sequence[Group], against_paper: bool, columns: Sequence[str] = ()
) -> Grid:
    shown = _metrics(groups)
    asked = list(columns) or [*shown, *_costs(groups)]
    known = {
        metric for metric in shown if any(published(group, metric) for group in groups)
    } if against_paper else set()  # fmt: skip
    if not columns:
        asked = [name for name in asked if name in known or name not in IN_CSV]
    parts = [_column(name, groups, name in known, against_paper) for name in asked]
    heads = ["method", "n", *(head for part in parts for head in part[0])]
    cells = [
        [(group.label, math.nan), (str(len(group.runs)), len(group.runs))]
        + [cell for part in parts for cell in part[1][row]]
        for row, group in enumerate(groups)
    ]
    best = [
        [False, False, *(mark for part in parts for mark in part[2][row])]
        for row in range(len(groups))
    ]
    rows = [[cell for cell, _ in row] for row in cells]
    keys = [[key for _, key in row] for row in cells]
    told = differing(groups)
    options = [[g.label, *(str(g.options.get(key, "-")) for key in told)] for g in groups]
    notes = [_changed(group) for group in groups if known and group.published and group.changed]
    notes += [note for group in groups if (note := _orders(group)) is not None]
    notes += _apart(groups) if any(WITHOUT_TASK in name for name in asked) else []
    if against_paper:
        notes += [_weights_left(group) for group in groups if WEIGHTS_LEFT in group.published]
    if against_paper and not any(group.published for group in groups):
        notes.append(
            "against=paper: a paper's figures are known of none of these rows as it was run"
        )
    notes += _other_images(groups)
    return Grid(title, heads, rows, keys, pairs(groups), (["method", *told], options), notes, best)


Cell = tuple[str, float]  # what is shown, and what is sorted by
Column = tuple[list[str], list[list[Cell]], list[list[bool]]]  # heads; of each row cells and marks


def _column(name: str, groups: Sequence[Group], known: bool, against_paper: bool) -> Column:
    """A metric or cost of all groups, with what was published of it."""
    if name == "seconds":
        heads = ["seconds of training"]
        if against_paper:
            heads += [heading for key, heading in TIMES.items() if _published_by_any(groups, key)]
        return (
            heads,
            [_times(group, groups, against_paper) for group in groups],
            _unmarked(groups, len(heads)),
        )
    if name in COST_COLUMNS:
        return _cost(name, groups)
    heads = [column(name).heading]
    if known:
        heads += [f"published {column(name).heading}", "difference"]
    ours, digits = [scaled(group, name) for group in groups], column(name).digits
    ends = (0.0, 100.0) if "accuracy" in name and column(name).factor == 100 else ()
    shown = digits if is_accuracy(name) or name.startswith(REFERRED) else None
    cells = [
        [(text(each, shown, *ends) + _fewer(each, group), each.mean)]
        for each, group in zip(ours, groups, strict=True)
    ]
    if known:
        for row, group in enumerate(groups):
            cells[row] += _beside(ours[row], published(group, name), digits)
    marks = [[mark, *[False] * (len(heads) - 1)] for mark in _best(name, ours)]
    return heads, cells, marks


def _fewer(found: Summary, group: Group) -> str:
    """What is said where a cell is of fewer runs than its row."""
    return f" (n={found.n})" if 0 < found.n < len(group.runs) else ""


def _cost(name: str, groups: Sequence[Group]) -> Column:
    if name == "parameters":
        sizes = [group.mean(name) for group in groups]
        shown = ["-" if math.isnan(size) else f"{size:,.0f}" for size in sizes]
        return [name], [[pair] for pair in zip(shown, sizes, strict=True)], _unmarked(groups)
    heading, unit = MORE_COSTS[name]
    found = [group.mean(name) / unit for group in groups]
    cells = [[("-" if math.isnan(each) else f"{each:,.2f}", each)] for each in found]
    return [heading], cells, _unmarked(groups)


def _unmarked(groups: Sequence[Group], width: int = 1) -> list[list[bool]]:
    return [[False] * width for _ in groups]


LOWER = re.compile(  # better if lower
    r"forgetting(?!_ratio).*|(final_loss|final_calibration)(_class|_task)?|intransigence_.*"
)


def _best(name: str, found: Sequence[Summary]) -> list[bool]:
    """Whether each is the best mean, or within the confidence interval of the best.

    None is of a measure of one's own, of which it is not known which way is better.
    """
    lower = LOWER.fullmatch(name) is not None
    if not lower and name not in COLUMNS and not name.startswith(REFERRED):
        return [False] * len(found)
    known = [each for each in found if each.n]
    if len(known) < 2:
        return [False] * len(found)
    best = (min if lower else max)(known, key=lambda each: each.mean)
    near = 0.0 if math.isnan(best.ci95) else best.ci95
    return [bool(each.n) and abs(each.mean - best.mean) <= near for each in found]


def _published_by_any(groups: Sequence[Group], key: str) -> bool:
    return any(key in group.published for group in groups)


def _other_images(groups: Sequence[Group]) -> list[str]:
    """Of runs on the same stream with the same seeds of it whose images are not the same."""
    first: dict[tuple[Any, ...], Run] = {}
    for run in (run for group in groups for run in group.runs):
        own = (run.options.get(key) for key in (*SEEDS, "data.shape") if key.startswith("data."))
        other = first.setdefault(tuple(map(str, own)), run)
        sums = [each.results.get("images", {}).get("checksum") for each in (other, run)]
        if None not in sums and sums[0] != sums[1]:
            return [
                f"not the same images: those of {other.folder} and {run.folder} differ, though "
                "stream and seeds are the same (changed files, or another version that reads them)"
            ]
    return []


def _apart(groups: Sequence[Group]) -> list[str]:
    """Of methods whose heads never compete, though they are compared without the task given."""
    found = [group.label for group in groups if heads_apart(group.options.get(HEADS))]
    return [f"class-incremental: of {', '.join(found)} the {APART}"] if found else []


def _times(group: Group, groups: Sequence[Group], against_paper: bool) -> list[tuple[str, float]]:
    """Seconds of training, and what a paper says of them."""
    seconds = summarize(group.values("seconds"))
    cells = [(text(seconds, 0, 0.0), seconds.mean)]
    if not against_paper:
        return cells
    theirs = published(group, "seconds")
    if _published_by_any(groups, "seconds"):
        cells.append(("-", math.nan) if theirs is None else (f"{theirs[0]:.0f}", theirs[0]))
    if _published_by_any(groups, "relative_time"):
        cells.append(_relative_time(group, groups))
    return cells


def _relative_time(group: Group, groups: Sequence[Group]) -> tuple[str, float]:
    """Time of training over that of the method that the paper names, ours and the paper's."""
    if "relative_time" not in group.published:
        return "-", math.nan
    theirs, name = group.published["relative_time"]
    named = [other for other in groups if other.name == name]
    if len(named) > 1:  # that as published
        named = [other for other in named if not other.changed]
    others = [other.mean("seconds") for other in named]
    ours = group.mean("seconds") / others[0] if len(others) == 1 and others[0] > 0 else math.nan
    shown = "-" if math.isnan(ours) else f"{ours:.2f}"
    return f"{shown} of {name}, published {theirs}", ours


def _of_measures(groups: Sequence[Group]) -> list[str]:
    """The metrics of what else was measured, such as `final_loss`, and against references."""
    found = dict.fromkeys(
        name for group in groups for run in group.runs for name in run.results.get("metrics", {})
    )
    return [
        name
        for name in found
        if (name.startswith("final_") and not is_accuracy(name)) or name.startswith(REFERRED)
    ]


def _orders(group: Group) -> str | None:
    """The worst and best of several orders of classes or tasks, of a group that has them."""
    found: dict[tuple[Any, ...], list[float]] = {}
    for run in group.runs:
        order = tuple(run.options.get(key) for key in ORDERS)
        if not math.isnan(value := run.value("final_accuracy")):
            found.setdefault(order, []).append(100 * value)
    means = [(summarize(values).mean, order) for order, values in found.items() if values]
    means.sort(key=lambda pair: pair[0])
    if len(means) < 2:
        return None
    (worst, worst_of), (best, best_of) = means[0], means[-1]
    return (
        f"{group.label}: final accuracy over {len(means)} orders: worst {worst:.1f} % "
        f"({_order(worst_of)}), best {best:.1f} % ({_order(best_of)})"
    )


def _order(seeds: tuple[Any, ...]) -> str:
    pairs = zip(ORDERS, seeds, strict=True)
    return " ".join(f"{key}={seed}" for key, seed in pairs if seed is not None) or "as given"


def _weights_left(group: Group) -> str:
    """The shares of weights left after each task, ours and published, of runs with masks."""
    found = [run.results.get("method", {}).get("remaining", {}) for run in group.runs]
    cells = []
    for visit, theirs in enumerate(group.published[WEIGHTS_LEFT], 1):
        ours = summarize([100 * shares[str(visit)] for shares in found if str(visit) in shares])
        cells.append(f"{f'{ours.mean:.2f}' if ours.n else '-'} ({theirs:.2f})")
    return f"{group.label}: % of weights left after each task, (published): {', '.join(cells)}"


def _changed(group: Group) -> str:
    return f"{group.label}: the published figures are not of {' '.join(group.changed)}"


def _beside(
    ours: Summary, theirs: tuple[float, float | None] | None, digits: int
) -> list[tuple[str, float]]:
    if theirs is None:
        return [("-", math.nan), ("-", math.nan)]
    mean, deviation = theirs
    shown = f"{mean:g}" if deviation is None else f"{mean:g} +- {deviation:g}"
    return [(shown, mean), (f"{ours.mean - mean:+.{digits}f}", ours.mean - mean)]


def tests(grid: Grid) -> tuple[list[str], list[list[str]]]:
    """Heads and rows of the paired tests."""
    heads = ["one", "other", "n", "difference", "p", "p (Holm)"]
    rows = []
    for pair in grid.tests:
        low, high = (100 * (pair.difference + sign * pair.ci95) for sign in (-1, 1))
        rows.append([
            pair.one, pair.other, str(pair.n),
            f"{100 * pair.difference:+z.1f} [{low:+.1f}, {high:+.1f}]",
            _p(pair.p), _p(pair.adjusted),
        ])  # fmt: skip
    return heads, rows


def _p(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}" if value >= 0.001 else "< 0.001"


def markdown(found: Sequence[Grid]) -> str:
    """All tables, each with its paired tests."""
    parts = []
    for grid in found:
        rows = [
            _quoted([f"**{cell}**" if mark else cell for cell, mark in zip(*both, strict=True)], 1)
            for both in zip(grid.rows, grid.best, strict=True)
        ]
        parts.append(f"{grid.title}\n\n{_markdown(grid.heads, rows)}")
        if grid.tests:
            heads, rows = tests(grid)
            parts.append(f"{PAIRED}\n\n{_markdown(heads, [_quoted(row, 2) for row in rows])}")
        parts += grid.notes
    several = any(row[1] != "1" for grid in found for row in grid.rows)
    return "\n\n".join([*parts, NOTE] if several else parts) + "\n"


def _quoted(row: Sequence[str], labels: int) -> list[str]:
    """A row whose first cells are names, as code."""
    return [*map(_code, row[:labels]), *row[labels:]]


def _code(name: str) -> str:
    """A span of code, whatever is in it.

    >>> _code("a"), _code("a`b")
    ('`a`', '`` a`b ``')
    """
    longest = max((len(run) for run in re.findall("`+", name)), default=0)
    if not longest:
        return f"`{name}`"
    fence = "`" * (longest + 1)
    return f"{fence} {name} {fence}"


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    escaped = ([_line(cell).replace("|", r"\|") for cell in line] for line in lines)
    return "\n".join("| " + " | ".join(line) + " |" for line in escaped)


def tidy(groups: Sequence[Group], columns: Sequence[str] = ()) -> str:
    """CSV, a row for each group and metric.

    Args:
        groups: of all tables.
        columns: as of `grids`; by default nothing that depends on the machine's speed.
    """
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow([
        *("table", "method", "metric", "unit", "n", "mean", "deviation", "ci95_low", "ci95_high"),
        *("published", "published_deviation", "difference"),
    ])  # fmt: skip
    usual = (*COLUMNS, *_of_measures(groups), "parameters", "bytes", "multiply_adds", "capacity")
    names = _asked(columns, groups) if columns else usual
    for group in groups:
        for metric in names:
            ours, theirs = scaled(group, metric), published(group, metric)
            if ours.n:
                values = [ours.mean, ours.std, ours.mean - ours.ci95, ours.mean + ours.ci95]
                paper = [*theirs, ours.mean - theirs[0]] if theirs else [None] * 3
                table.writerow([
                    _cell(group.table), _cell(group.label), metric, column(metric).unit, ours.n,
                    *(_number(value) for value in [*values, *paper]),
                ])  # fmt: skip
    return out.getvalue()


def _cell(text: str) -> str:
    """A text that spreadsheets take for a text, and not for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.10g}"


def latex(found: Sequence[Grid]) -> str:
    """Tables for the package booktabs, each with its paired tests."""
    return "\n".join(["% needs \\usepackage{booktabs}", *map(_latex, found)])


def _latex(grid: Grid) -> str:
    rows = [
        [
            rf"{{\boldmath\textbf{{{_escaped(cell)}}}}}" if mark else _escaped(cell)
            for cell, mark in zip(*both, strict=True)
        ]
        for both in zip(grid.rows, grid.best, strict=True)
    ]
    lines = [f"% {_line(grid.title)}", *_tabular(grid.heads, rows)]
    if grid.tests:
        heads, found = tests(grid)
        lines += [f"% {PAIRED}", *_tabular(heads, [list(map(_escaped, row)) for row in found], 2)]
    return "\n".join([*lines, *(f"% {_line(note)}" for note in grid.notes), ""])


def _tabular(heads: Sequence[str], rows: Sequence[Sequence[str]], names: int = 1) -> list[str]:
    """A table whose first columns are names; its cells are LaTeX."""
    places = "l" * names + "r" * (len(heads) - names)
    lines = [rf"\begin{{tabular}}{{{places}}}", r"\toprule"]
    lines += [" & ".join(map(_escaped, heads)) + r" \\", r"\midrule"]
    lines += [" & ".join(row) + r" \\" for row in rows]
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _line(text: str) -> str:
    return " ".join(text.split())


_LATEX = {
    **{sign: rf"\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}


NUMBER = r"[-+]?[\d.,]*\d(?:e[-+]\d+)?"


def _escaped(cell: str) -> str:
    r"""A cell for LaTeX; a bracket or star behind the last row's \\ would be read with it.

    >>> _escaped("50%_a"), _escaped("[x]")
    ('50\\%\\_a', '{}[x]')
    >>> print(_escaped("-5 +- 2 [-9, -1]"), _escaped("-3"), _escaped("1e-07 +- 2e-08 [-1, 3e-07]"))
    $-5 \pm 2$ [$-9$, $-1$] $-3$ $1\cdot 10^{-7} \pm 2\cdot 10^{-8}$ [$-1$, $3\cdot 10^{-7}$]
    """
    cell = "".join(_LATEX.get(sign, sign) for sign in _line(cell))
    cell = f"{{}}{cell}" if cell.startswith(("[", "*")) else cell
    if not re.match(rf"{NUMBER}($| \+- | \[| \()", cell):
        return cell
    cell = re.sub(rf"^({NUMBER}) \+- ({NUMBER})", r"$\1 \\pm \2$", cell)
    cell = re.sub(
        r"(?<![\w.$])([-+][\d.,]*\d|[\d.]+(?=e))(e[-+]\d+)?(?=[],)]| \(|$)", r"$\1\2$", cell
    )
    return re.sub(r"e([-+])0*(\d+)", lambda found: _power(*found.groups()), cell)


def _power(sign: str, exponent: str) -> str:
    return rf"\cdot 10^{{{sign.strip('+')}{exponent}}}"
