"""Figures of a run, made from the content of results.json alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lifelong.drawing import (
    INK,
    Results,
    accuracy_label,
    chance_of,
    hue,
    legend,
    matrix_of,
    panels,
    single,
    stride,
    words,
)
from lifelong.measures.matrix import forgotten, in_part, mean_of_seen
from lifelong.measures.metrics import METRICS, other_way
from lifelong.storage.results import visited

Curves = dict[str, list[tuple[float, list[dict[str, float]]]]]
MOST_LINES = 20  # tasks that can be told apart
WIDEST = 9  # inches of many tasks side by side
LOWEST = 1.4  # inches of a map, beside which its scale is named
TALLEST = 8.0  # and of many visits one above the other


def figures(results: Results) -> dict[str, Figure]:
    """All figures that the results give rise to, by file name without ending."""
    made = {
        "accuracy_matrix": accuracy_matrix(results),
        "accuracy_curves": accuracy_curves(results),
    }
    end = other_way(results)
    if end is not None:
        other = {**results, "accuracy": results[f"accuracy{end}"], "evaluate": end[1:]}
        for draw in (accuracy_matrix, accuracy_curves):
            made[f"{draw.__name__}{end}"] = draw(other)
    there = (
        (any(c.get("epochs") for c in results["validation"].values()), validation_curves),
        (bool(results.get("anytime")), anytime_accuracy),
        (len(results.get("plasticity", ())) > 1, plasticity),
        (len(results["accuracy"]) > 1 and _forgets(results), forgetting_by_task),
    )
    made |= {draw.__name__: draw(results) for found, draw in there if found}
    for name in ("confusion", "confusion_class", "confusion_task"):
        rows = results.get("measures", {}).get(name, [])
        if any(isinstance(table, dict) for row in rows for table in row):
            made[name] = confusion(rows)
    return made


def accuracy_matrix(results: Results) -> Figure:
    """Test accuracy of each task (columns) after each visit that tested all (rows)."""
    matrix = matrix_of(results)
    shown = np.nonzero(~in_part(matrix))[0]
    matrix = matrix[shown]
    rows, columns = matrix.shape
    size = min(0.55, WIDEST / max(columns, 1))
    height = max(min(size * rows, TALLEST), min(0.25 * rows, 2), LOWEST)
    figure, axes = single(1.8 + size * columns, 1.5 + height)
    picture = axes.imshow(100 * matrix, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    if columns <= 20 and height >= 0.17 * rows:
        for row, column in zip(*np.nonzero(~np.isnan(matrix)), strict=True):
            value = 100 * matrix[row, column]
            colour = "white" if value < 60 else "black"
            axes.text(
                column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=8
            )
    axes.set(xlabel="accuracy on task", ylabel="after learning task")
    ticks = range(0, columns, stride(columns))
    axes.set_xticks(ticks, [str(tick + 1) for tick in ticks])
    axes.set_yticks(range(0, rows, stride(rows)))
    axes.set_yticklabels([
        str(results["visits"][row]) for row in shown[:: stride(rows)].tolist()
    ])  # fmt: skip
    axes.grid(False)
    figure.colorbar(picture, ax=axes, label=accuracy_label(results))
    return figure


def accuracy_curves(results: Results) -> Figure:
    """Accuracy of each task along the stream, and the mean of the seen tasks."""
    matrix = 100 * matrix_of(results)
    figure, axes = single(7, 3.8)
    steps = np.arange(len(matrix))
    many = matrix.shape[1] > MOST_LINES
    for task in range(matrix.shape[1]):
        measured = ~np.isnan(matrix[:, task])
        thin = "-" if measured.sum() > 1 else "."
        color, look, width = ("#b8b8b8", thin, 0.5) if many else (hue(task), "o-", 1.2)
        label = f"task {task + 1}" if matrix.shape[1] <= 10 else None
        axes.plot(
            steps[measured], matrix[measured, task], look, color=color, lw=width, ms=3, label=label
        )
    means = np.array(mean_of_seen(matrix))
    known_means = ~np.isnan(means)
    look = "--" if many and known_means.sum() > 1 else "s--"
    axes.plot(
        steps[known_means], means[known_means], look, color=INK, lw=2, ms=5, label="mean so far"
    )
    if chance := chance_of(results):
        axes.plot(steps, chance, ":", color=INK, lw=1, label="mean by chance")
    one = way_of(results) == "class"  # there is one point alone
    for number, (name, line) in enumerate(references(results).items()):
        color = hue(8 - number)
        axes.plot(
            steps, line, "D-." if one else "-.", color=color, lw=2, label=words(name), zorder=3
        )
    after = results.get("published", {}).get("average_accuracy_after", {})
    known = sorted((int(visits) - 1, value) for visits, value in after.items())
    if known := [point for point in known if point[0] < len(matrix)]:
        axes.plot(*zip(*known, strict=True), "x", color="#c44e52", ms=8, mew=2, label="published")
    axes.set(xlabel="after learning task", ylabel=accuracy_label(results), ylim=(0, 102))
    axes.set_xticks(steps[:: stride(len(steps))])
    axes.set_xticklabels([str(results["visits"][step]) for step in steps[:: stride(len(steps))]])
    if matrix.shape[1] <= 10 or known or results.get("references"):
        legend(axes)
    return figure


def references(results: Results) -> dict[str, list[float]]:
    """What other runs know at their end of the tasks met so far, after each visit, in %, by name.

    Without the task given only after the last visit: before it a reference was asked among classes
    that were not met yet. Of runs that were not asked as this one was nothing is said.
    """
    found: dict[str, list[float]] = {}
    way, seen = way_of(results), visited(results)[: len(results["accuracy"])]
    for other in results.get("references", ()):
        end = "" if other.get("evaluate", "task") == way else f"_{way}"
        if f"accuracy{end}" in other:
            last = matrix_of({**other, "accuracy": other[f"accuracy{end}"]})[-1]
            met = [sorted(set(seen[: visit + 1])) for visit in range(len(seen))]
            name = str(other["strategy"])
            name += f", seed {other['seed']}" if name in found else ""
            alike = sum(each.partition(" (")[0] == name for each in found)
            name += f" ({alike + 1})" if alike else ""
            means = [100 * float(last[tasks].mean()) for tasks in met]
            alone = [math.nan] * (len(means) - 1) + means[-1:]
            found[name] = alone if way == "class" else means
    return found


def way_of(results: Results) -> str:
    """How the accuracies were asked: `task`, with the task given, or `class`."""
    return str(results.get("evaluate", "task"))


def _forgets(results: Results) -> bool:
    """Whether forgetting is defined: it is not where all tasks are learned at once."""
    return results.get("metrics", {}).get("forgetting", 0.0) is not None


def forgetting_by_task(results: Results) -> Figure:
    """Best accuracy - accuracy at the end, for each task; see the metric `forgetting`."""
    found = forgotten(matrix_of(results), visited(results))
    tasks, lost = list(found), [100 * value for value in found.values()]
    figure, axes = single(1.8 + min(0.42 * len(tasks), WIDEST), 3.0)
    axes.bar(range(len(tasks)), lost, color=[hue(task) for task in tasks], width=0.7)
    axes.axhline(0, color=INK, lw=0.8)
    if len(tasks) <= 20:
        for place, value in enumerate(lost):
            side = "bottom" if value >= 0 else "top"
            axes.text(place, value, f"{value:.1f}", ha="center", va=side, fontsize=7)
    ticks = range(0, len(tasks), stride(len(tasks)))
    axes.set_xticks(ticks, [str(tasks[tick] + 1) for tick in ticks])
    axes.margins(y=0.12)
    axes.set(xlabel="task", ylabel="forgetting, %")
    axes.set_ylim(top=max(axes.get_ylim()[1], 1))  # rounding is no forgetting
    return figure


def validation_curves(results: Results) -> Figure:
    """Validation accuracy of each task while it is learned."""
    figure, axes = single(7, 3.4)
    named = set()
    for key, curve in results["validation"].items():
        if curve.get("epochs"):
            task = results["visits"][int(key.partition(".")[0]) - 1]
            label = None if task in named else f"task {task}"
            named.add(task)
            values = 100 * np.array(curve["accuracy"])
            alone = "." if len(values) == 1 else None
            axes.plot(
                curve["epochs"], values, color=hue(task - 1), lw=1.1, marker=alone, label=label
            )
    axes.set(xlabel="epoch of the task", ylabel="validation accuracy, %", ylim=(0, 102))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if len(results["tasks"]) <= 10:
        legend(axes)
    return figure


def plasticity(results: Results) -> Figure:
    """Learning accuracy, dormant units and effective rank along the stream."""
    found = results["plasticity"]
    visits = [entry["visit"] for entry in found]
    figure, [left, middle, right] = panels(1, 3, 10, 3.0)
    matrix = matrix_of(results)
    learned = [100 * matrix[visit - 1, results["visits"][visit - 1] - 1] for visit in visits]
    left.plot(visits, learned, color=INK, lw=1.2)
    left.set(ylabel=f"{accuracy_label(results)}\nwhen learned", xlabel="visit")
    layers = zip(*(entry["dormant"] for entry in found), strict=True)
    for number, shares in enumerate(layers):
        middle.plot(visits, 100 * np.array(shares), color=hue(number), lw=1.0, label=number + 1)
    middle.set(ylabel="dormant units of each layer, %", xlabel="visit")
    middle.set_ylim(0, max(middle.get_ylim()[1], 1))
    if 1 < len(found[0]["dormant"]) <= 10:
        legend(middle)
    right.plot(visits, [entry["effective_rank"] for entry in found], color=INK, lw=1.2)
    label = f"effective rank of {found[0]['features']} features"
    right.set(ylabel=label, xlabel="visit", ylim=(0, None))
    for axes in (left, middle, right):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def anytime_accuracy(results: Results) -> Figure:
    """Accuracy of each task seen in the tests inside visits, against the steps trained."""
    tests = results["anytime"]
    figure, axes = single(7, 3.6)
    for task in range(1, len(results["tasks"]) + 1):
        points = [
            (test["steps"], 100 * test["accuracy"][str(task)])
            for test in tests if str(task) in test["accuracy"]
        ]  # fmt: skip
        label = f"task {task}" if len(results["tasks"]) <= 10 else None
        if points:
            axes.plot(*zip(*points, strict=True), color=hue(task - 1), lw=1.0, label=label)
    means = [100 * float(np.mean(list(test["accuracy"].values()))) for test in tests]
    axes.plot(
        [test["steps"] for test in tests], means, "--", color=INK, lw=1.6, label="mean so far"
    )
    for before, test in pairwise(tests):
        if test["visit"] != before["visit"]:
            axes.axvline(before["steps"], color=INK, lw=0.6, ls=":")
    axes.set(xlabel="training steps", ylabel=accuracy_label(results), ylim=(0, 102))
    if len(results["tasks"]) <= 10:
        legend(axes)
    return figure


def confusion(rows: Sequence[Sequence[dict[str, dict[str, int]] | None]]) -> Figure:
    """How the images of each class (rows) were answered (columns) after the last visit, in %."""
    counts: dict[int, dict[int, int]] = {}
    for table in rows[-1]:
        for target, answers in (table or {}).items():
            found = counts.setdefault(int(target), {})
            for answer, count in answers.items():
                found[int(answer)] = found.get(int(answer), 0) + count
    classes = sorted(counts.keys() | {answer for found in counts.values() for answer in found})
    place = {number: index for index, number in enumerate(classes)}
    grid = np.zeros((len(classes), len(classes)))
    for number, found in counts.items():
        for other, count in found.items():
            grid[place[number], place[other]] = 100 * count / sum(found.values())
    size = min(0.42, 9 / len(classes))
    figure, axes = single(2.0 + size * len(classes), 1.5 + size * len(classes))
    picture = axes.imshow(grid, cmap="magma_r", vmin=0, vmax=100)
    if len(classes) <= 20:
        for row, column in zip(*np.nonzero(grid.round()), strict=True):
            colour = "white" if grid[row, column] > 50 else INK
            axes.text(
                column, row, f"{grid[row, column]:.0f}", ha="center", va="center", color=colour,
                fontsize=7,
            )  # fmt: skip
    ticks = range(0, len(classes), stride(len(classes)))
    axes.set_xticks(ticks, [str(classes[tick]) for tick in ticks])
    axes.set_yticks(ticks, [str(classes[tick]) for tick in ticks])
    axes.set(xlabel="class answered", ylabel="class of the image")
    axes.grid(False)
    figure.colorbar(picture, ax=axes, label="% of the class's images")
    return figure


def against_option(curves: Curves, option: str) -> Figure:
    """Final accuracy and forgetting against a number among the options, over the seeds' spread.

    Args:
        curves: by the name of a method, pairs of the option's value and the metrics of the runs
            that have it.
        option: its dotted key, such as strategy.strength.

    Raises:
        ValueError: fewer than two values of the option.
    """
    values = sorted({value for points in curves.values() for value, _ in points})
    if len(values) < 2:
        raise ValueError(
            f"figure={option}: give an option of which the runs have two values; they have {values}"
        )
    figure, grid = panels(1, 2, 9, 3.2)
    for axes, metric in zip(grid, ("final_accuracy", "forgetting"), strict=True):
        for number, (name, points) in enumerate(sorted(curves.items())):
            found = [
                (value, [100 * run[metric] for run in runs if run[metric] is not None])
                for value, runs in sorted(points, key=lambda point: point[0])
            ]
            found = [(value, each) for value, each in found if each]
            axes.errorbar(
                [value for value, _ in found], [np.mean(each) for _, each in found],
                [float(np.std(each, ddof=min(len(each) - 1, 1))) for _, each in found],
                fmt="o-", color=hue(number), lw=1.4, ms=4, capsize=3, label=words(name),
            )  # fmt: skip
        least = min((value for value in values if value > 0), default=1.0)
        if values[-1] > 20 * least:
            axes.set_xscale("symlog", linthresh=least) if values[0] <= 0 else axes.set_xscale("log")
        axes.set(xlabel=option, ylabel=f"{METRICS[metric].words}, %")
    legend(grid[1])
    return figure
