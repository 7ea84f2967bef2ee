"""Figures of a run, made from the content of results.json alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lifelong.evaluation.history import HISTOGRAM
from lifelong.evaluation.matrix import Matrix, forgotten, from_rows

INK, GRID = "#222831", "#d8dde3"
COLOURS = (
    *("#1f6fb4", "#e07b39", "#3a9b6e", "#b8458f", "#8c6bb1"),
    *("#a0762c", "#4fa9c9", "#c44e52", "#6b7780", "#9aa83c"),
)

Results = dict[str, Any]
Curves = dict[str, list[tuple[float, list[dict[str, float]]]]]


def figures(results: Results) -> dict[str, Figure]:
    """All figures that the results give rise to, by file name without ending."""
    made = {
        "accuracy_matrix": accuracy_matrix(results),
        "accuracy_curves": accuracy_curves(results),
    }
    if any(curve.get("epochs") for curve in results["validation"].values()):
        made["validation_curves"] = validation_curves(results)
    searched = results["method"].get("tasks", {}).values()
    if any("chosen" in entry for entry in searched):
        made["chosen_layers"] = chosen_layers(results)
    if any(results["method"].get("relatedness", {}).values()):
        made["relatedness"] = relatedness(results)
    if len(results["accuracy"]) > 1:
        made["forgetting_by_task"] = forgetting_by_task(results)
    if results["method"].get("importances"):
        made["importance_histogram"] = importance_histogram(results)
        made["importance_shares"] = importance_shares(results)
    for key, (name, draw) in {
        "prior": ("configuration_prior", configuration_prior),
        "entropy": ("posterior_entropy", posterior_entropy),
        "shares": ("selector_shares", selector_shares),
        "validation_accuracy": ("candidate_accuracy", candidate_accuracy),
    }.items():
        if any(key in entry for entry in searched):
            made[name] = draw(results)
    return made


def accuracy_matrix(results: Results) -> Figure:
    """Test accuracy of each task (columns) after each visit (rows), as a heat map."""
    matrix = _matrix(results)
    rows, columns = matrix.shape
    size = min(0.55, 9 / max(columns, 1))
    figure, axes = _axes(1.8 + size * columns, 1.5 + size * rows)
    picture = axes.imshow(100 * matrix, cmap="viridis", vmin=0, vmax=100, aspect="auto")
    if columns <= 20:
        for row, column in zip(*np.nonzero(~np.isnan(matrix)), strict=True):
            value = 100 * matrix[row, column]
            colour = "white" if value < 60 else "black"
            axes.text(
                column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=8
            )
    axes.set(xlabel="accuracy on task", ylabel="after learning task")
    axes.set_xticks(range(0, columns, _step(columns)))
    axes.set_yticks(range(0, rows, _step(rows)))
    axes.set_yticklabels([str(results["visits"][row]) for row in range(0, rows, _step(rows))])
    axes.grid(False)
    figure.colorbar(picture, ax=axes, label=_accuracy(results))
    return figure


def accuracy_curves(results: Results) -> Figure:
    """Accuracy of each task along the stream, and the mean of the tasks met."""
    matrix = 100 * _matrix(results)
    figure, axes = _axes(7, 3.8)
    steps = np.arange(len(matrix))
    for task in range(matrix.shape[1]):
        axes.plot(
            steps,
            matrix[:, task],
            "o-",
            color=_colour(task),
            lw=1.2,
            ms=3,
            label=f"task {task}" if matrix.shape[1] <= 10 else None,
        )
    means = [row[~np.isnan(row)].mean() if (~np.isnan(row)).any() else math.nan for row in matrix]
    axes.plot(steps, means, "s--", color=INK, lw=2, ms=5, label="mean so far")
    after = results.get("published", {}).get("average_accuracy_after", {})
    known = sorted((int(visits) - 1, value) for visits, value in after.items())
    if known := [point for point in known if point[0] < len(matrix)]:
        axes.plot(*zip(*known, strict=True), "x", color="#c44e52", ms=8, mew=2, label="published")
    axes.set(xlabel="after learning task", ylabel=_accuracy(results), ylim=(0, 102))
    axes.set_xticks(steps[:: _step(len(steps))])
    axes.set_xticklabels([str(results["visits"][step]) for step in steps[:: _step(len(steps))]])
    if matrix.shape[1] <= 10 or known:
        _legend(axes)
    return figure


def forgetting_by_task(results: Results) -> Figure:
    """Accuracy when learned - accuracy at the end, for each task; below 0 it gained."""
    found = forgotten(_matrix(results), results["visits"])
    tasks, lost = list(found), [100 * value for value in found.values()]
    figure, axes = _axes(1.8 + 0.42 * len(tasks), 3.0)
    axes.bar(range(len(tasks)), lost, color=[_colour(task) for task in tasks], width=0.7)
    axes.axhline(0, color=INK, lw=0.8)
    if len(tasks) <= 20:
        for place, value in enumerate(lost):
            side = "bottom" if value >= 0 else "top"
            axes.text(place, value, f"{value:.1f}", ha="center", va=side, fontsize=7)
    ticks = range(0, len(tasks), _step(len(tasks)))
    axes.set_xticks(ticks, [str(tasks[tick]) for tick in ticks])
    axes.margins(y=0.12)
    axes.set(xlabel="task", ylabel="forgotten, points")
    return figure


def importance_histogram(results: Results) -> Figure:
    """How many weights are of what importance, after each visit (EWC, MAS, SI)."""
    described = results["method"]["importances"]
    (first, last, steps), share = HISTOGRAM, 100.0
    edges = np.linspace(first, last, steps + 1)
    figure, axes = _axes(7, 3.2)
    filled = np.zeros(steps, dtype=bool)
    for step, entry in described.items():
        counts = np.array(entry["histogram"])
        filled |= counts > 0
        task = results["visits"][int(step)]
        total = counts.sum() + entry["zeros"]
        zeros = f"task {task} ({share * entry['zeros'] / total:.0f} % are 0)"
        axes.stairs(share * counts / total, edges, color=_colour(task), lw=1.3, label=zeros)
    if filled.any():
        low, high = np.flatnonzero(filled)[[0, -1]]
        axes.set_xlim(edges[max(low - 1, 0)], edges[min(high + 2, steps)])
    axes.set(xlabel="importance, decimal logarithm", ylabel="share of the weights, %")
    if len(described) <= 10:
        _legend(axes)
    return figure


def importance_shares(results: Results) -> Figure:
    """Each layer's part in the sum of importances after each visit (EWC, MAS, SI)."""
    described = results["method"]["importances"]
    layers: dict[str, dict[str, float]] = {}  # by layer, then by visit
    for step, entry in described.items():
        for name, share in entry["shares"].items():
            layer = layers.setdefault(name.rpartition(".")[0], {})
            layer[step] = layer.get(step, 0.0) + 100 * share
    figure, axes = _axes(2.6 + 0.5 * len(described), max(2.6, 0.2 * len(layers)))
    below = np.zeros(len(described))
    for number, (name, shares) in enumerate(layers.items()):
        heights = np.array([shares.get(step, 0.0) for step in described])
        label = name if len(layers) <= 30 else None
        axes.bar(
            range(len(described)), heights, bottom=below, color=_colour(number), width=0.75,
            edgecolor="white", lw=0.4, label=label,
        )  # fmt: skip
        below += heights
    ticks = range(0, len(described), _step(len(described)))
    visited = [str(results["visits"][int(step)]) for step in described]
    axes.set_xticks(ticks, [visited[tick] for tick in ticks])
    axes.set(xlabel="after learning task", ylabel="share of the importance, %", ylim=(0, 100))
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1], labels[::-1], fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5),
        frameon=False,
    )  # fmt: skip
    return figure


def validation_curves(results: Results) -> Figure:
    """Validation accuracy of each task while it is learned."""
    figure, axes = _axes(7, 3.4)
    for key, curve in results["validation"].items():
        step, _, round_number = key.partition(".")
        if curve.get("epochs"):
            task = results["visits"][int(step)]
            label = f"task {task}" if round_number == "0" else None
            values = 100 * np.array(curve["accuracy"])
            axes.plot(curve["epochs"], values, color=_colour(task), lw=1.1, label=label)
    axes.set(xlabel="epoch of the task", ylabel="validation accuracy, %", ylim=(0, 102))
    if len(results["tasks"]) <= 10:
        _legend(axes)
    return figure


def chosen_layers(results: Results) -> Figure:
    """Which layers each task shares."""
    tasks = {int(task): entry for task, entry in results["method"]["tasks"].items()}
    chosen = {task: entry["chosen"] for task, entry in sorted(tasks.items()) if "chosen" in entry}
    grid = np.array([[int(figure) for figure in config] for config in chosen.values()]).T
    depth, count = grid.shape
    figure, axes = _axes(1.6 + 0.42 * count, 1.2 + 0.32 * depth)
    axes.imshow(grid, cmap="Blues", vmin=-0.25, vmax=1.25, aspect="auto", origin="lower")
    for layer, column in zip(*np.nonzero(grid + 1), strict=True):
        word = "shared" if grid[layer, column] else "own"
        colour = "white" if grid[layer, column] else INK
        axes.text(column, layer, word, ha="center", va="center", color=colour, fontsize=6)
    axes.set_xticks(range(count), [str(task) for task in chosen])
    axes.set_yticks(range(depth), [str(layer + 1) for layer in range(depth)])
    axes.set(xlabel="task", ylabel="layer (1: input)")
    axes.grid(False)
    return figure


def configuration_prior(results: Results) -> Figure:
    """Probability of each configuration through the training of each task."""
    method = results["method"]
    tasks = sorted((int(task), entry) for task, entry in method["tasks"].items())
    columns = min(len(tasks), 5)
    rows = -(-len(tasks) // columns)
    figure, grid = _panels(rows, columns, 2.1 * columns + 1.2, 2.0 * rows + 0.9)
    names = method["configurations"]
    picture = None
    for axes, (task, entry) in zip(grid, tasks, strict=False):
        prior = np.array(entry["prior"]).T  # (c, epochs)
        end = entry["epochs"][-1]
        picture = axes.imshow(
            prior,
            cmap="magma_r",
            vmin=0,
            vmax=1,
            aspect="auto",
            extent=(0, end, len(names) - 0.5, -0.5),
        )
        axes.set_title(f"task {task}: {entry.get('chosen', '')}", fontsize=8)
        axes.grid(False)
        axes.tick_params(labelsize=6)
        step = max(1, len(names) // 16)
        axes.set_yticks(range(0, len(names), step))
        axes.set_yticklabels(names[::step] if axes in grid[::columns] else [], family="monospace")
    for axes in grid[len(tasks) :]:
        axes.set_visible(False)
    figure.supxlabel("epoch of the task", fontsize=9)
    figure.supylabel("configuration (1: layer shared, input first)", fontsize=9)
    if picture is not None:
        figure.colorbar(picture, ax=grid, label="probability")
    return figure


def selector_shares(results: Results) -> Figure:
    """How much each layer is shared through the training of each task (DARTS)."""
    tasks = sorted((int(task), entry) for task, entry in results["method"]["tasks"].items())
    columns = min(len(tasks), 5)
    rows = -(-len(tasks) // columns)
    figure, grid = _panels(rows, columns, 2.1 * columns + 1.2, 1.9 * rows + 0.7)
    for axes, (task, entry) in zip(grid, tasks, strict=False):
        for layer, shares in enumerate(zip(*entry["shares"], strict=True)):
            label = f"layer {layer + 1}" if axes is grid[columns - 1] else None
            axes.plot(entry["epochs"], shares, color=_colour(layer), lw=1.1, label=label)
        axes.axhline(0.5, color=INK, lw=0.8, ls=":")
        axes.set_title(f"task {task}: {entry.get('chosen', '')}", fontsize=8)
        axes.tick_params(labelsize=6)
    _legend(grid[columns - 1])
    for axes in grid[len(tasks) :]:
        axes.set_visible(False)
    figure.supxlabel("epoch of the task", fontsize=9)
    figure.supylabel("weight of the shared form", fontsize=9)
    return figure


def candidate_accuracy(results: Results) -> Figure:
    """Best validation accuracy of each configuration for each task (brute force)."""
    method = results["method"]
    tasks = sorted((int(task), entry) for task, entry in method["tasks"].items())
    tasks = [(task, entry) for task, entry in tasks if "validation_accuracy" in entry]
    names = method["configurations"]
    values = 100 * np.array([entry["validation_accuracy"] for _, entry in tasks]).T
    figure, axes = _axes(2.6 + 0.55 * len(tasks), 1.0 + 0.2 * min(len(names), 40))
    lowest = min(values.min(), 95)
    picture = axes.imshow(values, cmap="viridis", vmin=lowest, vmax=100, aspect="auto")
    for column, (_, entry) in enumerate(tasks):
        axes.plot(column, names.index(entry["chosen"]), "o", color="white", mec=INK, ms=6)
    step = max(1, len(names) // 32)
    axes.set_yticks(range(0, len(names), step))
    axes.set_yticklabels(names[::step], family="monospace", fontsize=7)
    axes.set_xticks(range(len(tasks)), [str(task) for task, _ in tasks])
    axes.set(xlabel="task (dot: chosen)", ylabel="configuration (1: shared)")
    axes.grid(False)
    figure.colorbar(picture, ax=axes, label="validation accuracy, %")
    return figure


def relatedness(results: Results) -> Figure:
    """Weights of earlier tasks (columns) in the steps of each visit (rows), as a heat map (TAG)."""
    weights = results["method"]["relatedness"]
    count = len(results["visits"])
    grid = np.full((count, max(count - 1, 1)), math.nan)
    for step, row in weights.items():
        end = int(step)
        grid[end, end - len(row) : end] = row
    size = min(0.5, 9 / count)
    figure, axes = _axes(1.9 + size * count, 1.4 + size * count)
    picture = axes.imshow(grid, cmap="magma_r", aspect="auto")
    if count <= 20:
        middle = (np.nanmin(grid) + np.nanmax(grid)) / 2
        for row, column in zip(*np.nonzero(~np.isnan(grid)), strict=True):
            colour = "white" if grid[row, column] > middle else INK
            axes.text(
                column, row, f"{grid[row, column]:.2f}", ha="center", va="center", color=colour,
                fontsize=6,
            )  # fmt: skip
    for axis, ends in ((axes.set_xticks, grid.shape[1]), (axes.set_yticks, count)):
        ticks = range(0, ends, _step(count))
        axis(ticks, [str(results["visits"][tick]) for tick in ticks])
    axes.set(xlabel="earlier task", ylabel="task learned")
    axes.grid(False)
    figure.colorbar(picture, ax=axes, label="mean weight (1: unrelated, below: alike)")
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
        raise ValueError(f"{option}: the runs have no two values of it; they have {values}")
    figure, grid = _panels(1, 2, 9, 3.2)
    for axes, metric in zip(grid, ("final_accuracy", "forgetting"), strict=True):
        for number, (name, points) in enumerate(sorted(curves.items())):
            found = [
                (value, [100 * run[metric] for run in runs])
                for value, runs in sorted(points, key=lambda point: point[0])
            ]
            axes.errorbar(
                [value for value, _ in found], [np.mean(each) for _, each in found],
                [float(np.std(each, ddof=min(len(each) - 1, 1))) for _, each in found],
                fmt="o-", color=_colour(number), lw=1.4, ms=4, capsize=3, label=name,
            )  # fmt: skip
        least = min((value for value in values if value > 0), default=1.0)
        if values[-1] > 20 * least:
            axes.set_xscale("symlog", linthresh=least) if values[0] <= 0 else axes.set_xscale("log")
        axes.set(xlabel=option, ylabel=f"{metric.replace('_', ' ')}, %")
    _legend(grid[1])
    return figure


def posterior_entropy(results: Results) -> Figure:
    """Mean entropy of the batches' posteriors through the training of each task."""
    figure, axes = _axes(7, 3.0)
    method = results["method"]
    for task, entry in sorted((int(key), entry) for key, entry in method["tasks"].items()):
        axes.plot(
            entry["epochs"], entry["entropy"], color=_colour(task), lw=1.1, label=f"task {task}"
        )
    highest = math.log(len(method["configurations"]))
    axes.axhline(highest, color=INK, lw=0.8, ls=":")
    axes.set(xlabel="epoch of the task", ylabel="entropy of the posterior, nats")
    axes.set_ylim(0, 1.08 * highest or 1)
    if len(method["tasks"]) <= 10:
        _legend(axes)
    return figure


def _accuracy(results: Results) -> str:
    how = ", task not given" if results.get("evaluate") == "class" else ""
    return f"{results.get('measured_on', 'test')} accuracy{how}, %"


def _matrix(results: Results) -> Matrix:
    return from_rows(results["accuracy"], len(results["tasks"]))


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    figure, [axes] = _panels(1, 1, width, height)
    return figure, axes


def _panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.grid(True, color=GRID, lw=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure, list(grid.flat)


def _legend(axes: Axes) -> None:
    axes.legend(fontsize=7, ncols=1, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)


def _colour(task: int) -> str:
    return COLOURS[task % len(COLOURS)]


def _step(count: int) -> int:
    """Distance of ticks, at most about twenty."""
    return max(1, math.ceil(count / 20))
