"""Figures of several groups of runs: curves with bands, scatters, heat maps side by side."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lifelong.comparison.groups import Group
from lifelong.comparison.runs import Run
from lifelong.comparison.statistics import summarize
from lifelong.drawing import (
    INK,
    Results,
    accuracy_label,
    chance_of,
    hue,
    legend,
    marker,
    panels,
    single,
    stride,
    words,
)
from lifelong.measures.matrix import Matrix, from_rows, in_part, mean_of_seen
from lifelong.measures.metrics import WITH_TASK, WITHOUT_TASK
from lifelong.storage.results import visited

ACCURACY = "accuracy"  # key of the matrix in results.json
MOST_BANDS = 8  # groups
MOST_MAPS = 12  # heat maps that are drawn side by side


def comparison_figures(groups: Sequence[Group]) -> dict[str, Figure]:
    """All figures of the groups of one table, by file name without ending."""
    made = {"accuracy_along_stream": accuracy_along_stream(groups)}
    for name, metric, label, factor in (
        ("accuracy_against_forgetting", "forgetting", "forgetting, %", 100.0),
        ("accuracy_against_time", "seconds", "seconds of training", 1.0),
        ("accuracy_against_parameters", "parameters", "parameters", 1.0),
        ("accuracy_against_bytes", "bytes", "MB kept between tasks", 1e-6),
        ("accuracy_against_multiply_adds", "multiply_adds", "multiply-adds of a step, 10^6", 1e-6),
    ):
        if any(group.values(metric) for group in groups):
            made[name] = scatter(groups, metric, label, factor)
    made["accuracy_matrices"] = accuracy_matrices(groups)
    for end in (WITHOUT_TASK, WITH_TASK):
        key = f"{ACCURACY}{end}"
        both = [group for group in groups if all(key in run.results for run in group.runs)]
        if both:
            made[f"accuracy_along_stream{end}"] = accuracy_along_stream(both, key)
            made[f"accuracy_matrices{end}"] = accuracy_matrices(both, key)
    return made


def accuracy_along_stream(groups: Sequence[Group], key: str = ACCURACY) -> Figure:
    """Mean accuracy of the seen tasks after each visit; bands: 95 % confidence over seeds.

    Of more than `MOST_BANDS` groups there are no bands, which would lie on each other.

    Args:
        groups: of one table.
        key: of the matrix in results.json.
    """
    figure, axes = single(7.5, _height(groups))
    labels = _short(groups)
    for number, group in enumerate(groups):
        rows = [_means(run, key) for run in group.runs]
        found = [
            summarize([value for value in column if not math.isnan(value)])
            for column in zip(*rows, strict=True)
        ]
        steps = [step for step, each in enumerate(found) if each.n]
        mean = np.array([found[step].mean for step in steps])
        half = np.nan_to_num(np.array([found[step].ci95 for step in steps]))
        if len(steps) == 1 < len(found):  # learned at once: measured at the end
            steps, mean, half = list(range(len(found))), mean.repeat(len(found)), half[[0]]
        style = "--" if len(half) < len(steps) else f"{marker(number)}-"
        axes.plot(
            steps, mean, style, color=hue(number), lw=1.6, ms=4, label=labels[number],
            markevery=stride(len(steps)),
        )  # fmt: skip
        if len(groups) <= MOST_BANDS:
            low, high = np.maximum(mean - half, 0), np.minimum(mean + half, 100)
            axes.fill_between(steps, low, high, color=hue(number), alpha=0.15, lw=0)
    asked = _asked(groups, key)
    if chance := chance_of(asked):
        axes.plot(range(len(chance)), chance, ":", color=INK, lw=1, label="by chance")
    visits = asked["visits"]
    ticks = range(0, len(visits), stride(len(visits)))
    axes.set_xticks(ticks, [str(visits[tick]) for tick in ticks])
    axes.set(xlabel="after learning task", ylabel=f"mean {_accuracy(groups, key)}")
    legend(axes)
    return figure


def scatter(groups: Sequence[Group], metric: str, label: str, factor: float) -> Figure:
    """Final accuracy against another metric; bars: standard deviations over seeds.

    The line joins the groups that no other beats in both (Pareto).
    """
    figure, axes = single(6.5, _height(groups))
    lowest, labels = math.inf, _short(groups)
    for number, group in enumerate(groups):
        x = summarize([factor * value for value in group.values(metric)])
        y = summarize([100 * value for value in group.values("final_accuracy")])
        if x.n and y.n:
            axes.errorbar(
                x.mean, y.mean, xerr=_bar(x.std), yerr=_bar(y.std), fmt="none", color=hue(number),
                capsize=2, lw=1,
            )  # fmt: skip
            axes.plot(x.mean, y.mean, marker(number), color=hue(number), ms=6, label=labels[number])
            lowest = min(lowest, x.mean)
    _frontier(axes, groups, metric, factor)
    values = [factor * group.mean(metric) for group in groups if group.values(metric)]
    if factor == 1 and lowest > 0 and max(values) > 20 * lowest:
        axes.set_xscale("log")
    axes.margins(0.12)
    axes.set(xlabel=label, ylabel=f"final {_accuracy(groups)}")
    legend(axes)
    return figure


def _frontier(axes: Axes, groups: Sequence[Group], metric: str, factor: float) -> None:
    """The steps of the best that can be had at each price."""
    points = sorted(
        (factor * group.mean(metric), -100 * group.mean("final_accuracy")) for group in groups
        if group.values(metric) and group.values("final_accuracy")
    )  # fmt: skip
    best: list[tuple[float, float]] = []
    for price, lost in points:
        if not best or -lost > best[-1][1]:
            best.append((price, -lost))
    if len(points) > 2 and len(best) > 1:
        axes.step(*zip(*best, strict=True), where="post", color=INK, lw=0.8, ls=":", zorder=0)


def accuracy_matrices(groups: Sequence[Group], key: str = ACCURACY) -> Figure:
    """The mean accuracy matrix of each group, on one scale; see `accuracy_along_stream`.

    Of many groups the first ones, which the figure says.
    """
    whole, groups = len(groups), groups[:MOST_MAPS]
    labels = _short(groups)
    columns = min(len(groups), 4)
    rows = -(-len(groups) // columns)
    figure, grid = panels(rows, columns, 2.6 * columns + 1.2, 2.6 * rows + 0.6)
    picture = None
    for axes, group, label in zip(grid, groups, labels, strict=False):
        mean = _mean_matrix(group, key)
        shown = np.nonzero(~in_part(mean))[0]
        mean = mean[shown]
        picture = axes.imshow(100 * mean, cmap="viridis", vmin=0, vmax=100, aspect="auto")
        axes.set_title(label, fontsize=7)
        axes.grid(False)
        visits = visited(group.runs[0].results)
        _numbered(axes, mean, [visits[row] for row in shown])
    for axes in grid[len(groups) :]:
        axes.set_visible(False)
    more = f" (the first {len(groups)} of {whole} rows of the table)" if whole > len(groups) else ""
    figure.supxlabel(f"accuracy on task{more}", fontsize=9)
    figure.supylabel("after learning task", fontsize=9)
    if picture is not None:
        figure.colorbar(picture, ax=grid, label=f"mean {_accuracy(groups, key)}")
    return figure


def _numbered(axes: Axes, mean: Matrix, visits: Sequence[int]) -> None:
    if mean.shape[1] <= 6 and mean.shape[0] <= 12:
        for row, column in zip(*np.nonzero(~np.isnan(mean)), strict=True):
            value = 100 * mean[row, column]
            axes.text(
                column, row, f"{value:.0f}", ha="center", va="center", fontsize=7,
                color="white" if value < 60 else INK,
            )  # fmt: skip
    for ticks, numbers in ((axes.set_xticks, range(mean.shape[1])), (axes.set_yticks, visits)):
        places = range(0, len(numbers), stride(2 * len(numbers)))
        ticks(places, [str(numbers[place] + 1) for place in places])


def _mean_matrix(group: Group, key: str) -> Matrix:
    stack = np.stack([_matrix(run, key) for run in group.runs])
    known = (~np.isnan(stack)).all(0)
    return np.where(known, np.nan_to_num(stack).mean(0), math.nan)


def _matrix(run: Run, key: str) -> Matrix:
    return from_rows(run.results[key], len(run.results["tasks"]))


def _means(run: Run, key: str) -> list[float]:
    return [100 * mean for mean in mean_of_seen(_matrix(run, key))]


def _accuracy(groups: Sequence[Group], key: str = ACCURACY) -> str:
    return accuracy_label(_asked(groups, key))


def _asked(groups: Sequence[Group], key: str) -> Results:
    """The results of a run of a table, as if it had been asked in the way of a matrix."""
    results = groups[0].runs[0].results
    way = key.removeprefix(f"{ACCURACY}_")
    return results if key == ACCURACY else {**results, "evaluate": way}


def _height(groups: Sequence[Group]) -> float:
    """Inches that also hold the legend."""
    return max(4.0, 0.6 + 0.17 * len(groups))


def _bar(deviation: float) -> float | None:
    return None if math.isnan(deviation) else deviation


def _short(groups: Sequence[Group]) -> list[str]:
    """The labels of groups as a figure has room for them, no two alike.

    Of options the last word of the key stands; what is longer is cut, unless two would be one then.
    """
    whole = [group.label for group in groups]
    short = [re.sub(r"(?<= )[\w.]+\.(\w+=)", r"\1", label) for label in whole]
    cut = [label if len(label) <= 36 else f"{label[:14]}...{label[-19:]}" for label in short]
    for found in (cut, short):
        if len(set(found)) == len(set(whole)):
            return [*map(words, found)]
    return [*map(words, whole)]
