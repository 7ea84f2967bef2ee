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
from lifelong.comparison.paired import Pair, pairs
from lifelong.comparison.runs import ORDERS
from lifelong.comparison.statistics import Summary, summarize
from lifelong.measures.metrics import Metric, is_accuracy, metric_of

COLUMNS = (  # metrics that stand in tables
    *("final_accuracy", "final_accuracy_class", "final_accuracy_task"),
    *("average_accuracy", "average_accuracy_class", "average_accuracy_task"),
    *("learning_accuracy", "learning_accuracy_class", "learning_accuracy_task", "peak_accuracy"),
    *("forgetting", "forgetting_class", "forgetting_task"),
    *("backward_transfer", "backward_transfer_class", "backward_transfer_task"),
    *("backward_transfer_with_last", "forgetting_ratio", "forward_transfer"),
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
    "confidence interval of the mean, Student's t]."
)
PAIRED = (
    "Final accuracy of one method less that of the other over the seeds that both have, in points "
    "[95 % confidence interval]; p of the paired t-test, and adjusted by Holm."
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


def text(found: Summary, digits: int) -> str:
    """A cell.

    >>> text(summarize([1.0, 2.0, 3.0]), 1)
    '2.0 +- 1.0 [-0.5, 4.5]'
    """
    if not found.n:
        return "-"
    if found.n == 1:
        return f"{found.mean:z.{digits}f}"
    low, high = found.mean - found.ci95, found.mean + found.ci95
    return (
        f"{found.mean:z.{digits}f} +- {found.std:.{digits}f} "
        f"[{low:z.{digits}f}, {high:z.{digits}f}]"
    )


@dataclass(frozen=True)
class Grid:
    """A table as texts, with numbers to sort by; NaN where a cell is no number.

    Attributes:
        tests: between its rows.
        options: heads and rows of all options in which its rows differ.
        notes: to be read with it.
    """

    title: str
    heads: list[str]
    rows: list[list[str]]
    keys: list[list[float]]
    tests: list[Pair]
    options: tuple[list[str], list[list[str]]]
    notes: list[str]


def grids(groups: Sequence[Group], against_paper: bool = False) -> list[Grid]:
    """A table for each stream and protocol.

    Args:
        groups: see `lifelong.evaluation.study`.
        against_paper: put published figures and the difference beside ours.
    """
    return [_grid(title, some, against_paper) for title, some in tables(groups)]


def _grid(title: str, groups: Sequence[Group], against_paper: bool) -> Grid:
    names = (*COLUMNS, *_of_measures(groups))
    shown = [metric for metric in names if any(group.values(metric) for group in groups)]
    known = {
        metric for metric in shown if any(published(group, metric) for group in groups)
    } if against_paper else set()  # fmt: skip
    shown = [metric for metric in shown if metric in known or metric not in IN_CSV]
    heads, rows, keys = ["method", "n"], [], []
    for metric in shown:
        heads.append(column(metric).heading)
        if metric in known:
            heads += [f"published {column(metric).heading}", "difference"]
    costs = [cost for cost in MORE_COSTS if any(group.values(cost) for group in groups)]
    heads += ["parameters", *(MORE_COSTS[cost][0] for cost in costs), "seconds of training"]
    if against_paper:
        heads += [heading for key, heading in TIMES.items() if _published_by_any(groups, key)]
    for group in groups:
        cells: list[tuple[str, float]] = [
            (group.label, math.nan), (str(len(group.runs)), len(group.runs))
        ]  # fmt: skip
        for metric in shown:
            ours, digits = scaled(group, metric), column(metric).digits
            cells.append((text(ours, digits), ours.mean))
            if metric in known:
                cells += _beside(ours, published(group, metric), digits)
        size = group.mean("parameters")
        cells.append((f"{size:,.0f}", size))
        more = [group.mean(cost) / MORE_COSTS[cost][1] for cost in costs]
        cells += [("-" if math.isnan(each) else f"{each:,.2f}", each) for each in more]
        cells += _times(group, groups, against_paper)
        rows.append([cell for cell, _ in cells])
        keys.append([key for _, key in cells])
    told = differing(groups)
    options = [[g.label, *(str(g.options.get(key, "-")) for key in told)] for g in groups]
    notes = [_changed(group) for group in groups if known and group.published and group.changed]
    notes += [note for group in groups if (note := _orders(group)) is not None]
    if against_paper:
        notes += [_weights_left(group) for group in groups if WEIGHTS_LEFT in group.published]
    return Grid(title, heads, rows, keys, pairs(groups), (["method", *told], options), notes)


def _published_by_any(groups: Sequence[Group], key: str) -> bool:
    return any(key in group.published for group in groups)


def _times(group: Group, groups: Sequence[Group], against_paper: bool) -> list[tuple[str, float]]:
    """Seconds of training, and what a paper says of them."""
    seconds = summarize(group.values("seconds"))
    cells = [(text(seconds, 0), seconds.mean)]
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
    others = [other.mean("seconds") for other in groups if other.name == name]
    ours = group.mean("seconds") / others[0] if others and others[0] > 0 else math.nan
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
        found.setdefault(order, []).append(100 * run.value("final_accuracy"))
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
        rows = [_quoted(row, 1) for row in grid.rows]
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


def tidy(groups: Sequence[Group]) -> str:
    """CSV, a row for each group and metric; nothing that depends on the machine's speed."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow([
        *("table", "method", "metric", "unit", "n", "mean", "deviation", "ci95_low", "ci95_high"),
        *("published", "published_deviation", "difference"),
    ])  # fmt: skip
    names = (*COLUMNS, *_of_measures(groups), "bytes", "multiply_adds")
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
    """Tables for the package booktabs."""
    return "\n".join(_latex(grid) for grid in found)


def _latex(grid: Grid) -> str:
    places = "l" + "r" * (len(grid.heads) - 1)
    lines = [f"% {_line(grid.title)}", rf"\begin{{tabular}}{{{places}}}", r"\toprule"]
    lines += [" & ".join(map(_escaped, grid.heads)) + r" \\", r"\midrule"]
    for row in grid.rows:
        lines.append(" & ".join(_escaped(cell) for cell in row) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", *(f"% {_line(note)}" for note in grid.notes), ""]
    return "\n".join(lines)


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


def _escaped(cell: str) -> str:
    r"""A cell for LaTeX; a bracket or star behind the last row's \\ would be read with it.

    >>> _escaped("50%_a"), _escaped("[x]")
    ('50\\%\\_a', '{}[x]')
    """
    cell = "".join(_LATEX.get(sign, sign) for sign in _line(cell))
    cell = f"{{}}{cell}" if cell.startswith(("[", "*")) else cell
    return re.sub(r"^(-?[\d.,]+) \+- ([\d.]+)", r"$\1 \\pm \2$", cell)
