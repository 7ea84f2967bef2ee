"""Figures of what single methods report, made from the content of results.json alone."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lifelong.measures.history import HISTOGRAM
from lifelong.measures.matrix import from_rows
from lifelong.report.drawing import (
    INK,
    Results,
    accuracy_label,
    hue,
    legend,
    panels,
    single,
    stride,
)


def method_figures(results: Results) -> dict[str, Figure]:
    """All figures that the method's report gives rise to, by file name without ending."""
    method = results["method"]
    searched = method.get("tasks", {}).values()
    made = {
        name: draw(results)
        for key, name, draw in (
            ("chosen", "chosen_layers", chosen_layers),
            ("prior", "configuration_prior", configuration_prior),
            ("entropy", "posterior_entropy", posterior_entropy),
            ("shares", "selector_shares", selector_shares),
            ("validation_accuracy", "candidate_accuracy", candidate_accuracy),
        )
        if any(key in entry for entry in searched)
    }
    if any(method.get("relatedness", {}).values()):
        made["relatedness"] = relatedness(results)
    if method.get("importances"):
        made["importance_histogram"] = importance_histogram(results)
        made["importance_shares"] = importance_shares(results)
    if method.get("remaining"):
        made["accuracy_against_remaining"] = accuracy_against_remaining(results)
        made["density_by_layer"] = density_by_layer(results)
    if "accuracy_dense" in results:
        made["dense_against_ticket"] = dense_against_ticket(results)
    if any("rounds" in entry for entry in method.get("decisions", {}).values()):
        made["pruning_rounds"] = pruning_rounds(results)
    return made


def chosen_layers(results: Results) -> Figure:
    """Which layers each task shares."""
    tasks = {int(task): entry for task, entry in results["method"]["tasks"].items()}
    chosen = {task: entry["chosen"] for task, entry in sorted(tasks.items()) if "chosen" in entry}
    grid = np.array([[int(figure) for figure in config] for config in chosen.values()]).T
    depth, count = grid.shape
    figure, axes = single(1.6 + 0.42 * count, 1.2 + 0.32 * depth)
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
    figure, grid = panels(rows, columns, 2.1 * columns + 1.2, 2.0 * rows + 0.9)
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


def posterior_entropy(results: Results) -> Figure:
    """Mean entropy of the batches' posteriors through the training of each task."""
    figure, axes = single(7, 3.0)
    method = results["method"]
    for task, entry in sorted((int(key), entry) for key, entry in method["tasks"].items()):
        axes.plot(
            entry["epochs"], entry["entropy"], color=hue(task - 1), lw=1.1, label=f"task {task}"
        )
    highest = math.log(len(method["configurations"]))
    axes.axhline(highest, color=INK, lw=0.8, ls=":")
    axes.set(xlabel="epoch of the task", ylabel="entropy of the posterior, nats")
    axes.set_ylim(0, 1.08 * highest or 1)
    if len(method["tasks"]) <= 10:
        legend(axes)
    return figure


def selector_shares(results: Results) -> Figure:
    """How much each layer is shared through the training of each task (DARTS)."""
    tasks = sorted((int(task), entry) for task, entry in results["method"]["tasks"].items())
    columns = min(len(tasks), 5)
    rows = -(-len(tasks) // columns)
    figure, grid = panels(rows, columns, 2.1 * columns + 1.2, 1.9 * rows + 0.7)
    for axes, (task, entry) in zip(grid, tasks, strict=False):
        for layer, shares in enumerate(zip(*entry["shares"], strict=True)):
            label = f"layer {layer + 1}" if axes is grid[columns - 1] else None
            axes.plot(entry["epochs"], shares, color=hue(layer), lw=1.1, label=label)
        axes.axhline(0.5, color=INK, lw=0.8, ls=":")
        axes.set_title(f"task {task}: {entry.get('chosen', '')}", fontsize=8)
        axes.tick_params(labelsize=6)
    legend(grid[columns - 1])
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
    figure, axes = single(2.6 + 0.55 * len(tasks), 1.0 + 0.2 * min(len(names), 40))
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
        end = int(step) - 1
        grid[end, end - len(row) : end] = row
    size = min(0.5, 9 / count)
    figure, axes = single(1.9 + size * count, 1.4 + size * count)
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
        ticks = range(0, ends, stride(count))
        axis(ticks, [str(results["visits"][tick]) for tick in ticks])
    axes.set(xlabel="earlier task", ylabel="task learned")
    axes.grid(False)
    figure.colorbar(picture, ax=axes, label="mean weight (1: unrelated, below: alike)")
    return figure


def importance_histogram(results: Results) -> Figure:
    """How many weights are of what importance, after each visit (EWC, MAS, SI)."""
    described = results["method"]["importances"]
    (first, last, steps), share = HISTOGRAM, 100.0
    edges = np.linspace(first, last, steps + 1)
    figure, axes = single(7, 3.2)
    filled = np.zeros(steps, dtype=bool)
    for step, entry in described.items():
        counts = np.array(entry["histogram"])
        filled |= counts > 0
        task = results["visits"][int(step) - 1]
        total = counts.sum() + entry["zeros"]
        zeros = f"task {task} ({share * entry['zeros'] / total:.0f} % are 0)"
        axes.stairs(share * counts / total, edges, color=hue(task - 1), lw=1.3, label=zeros)
    if filled.any():
        low, high = np.flatnonzero(filled)[[0, -1]]
        axes.set_xlim(edges[max(low - 1, 0)], edges[min(high + 2, steps)])
    axes.set(xlabel="importance, decimal logarithm", ylabel="share of the weights, %")
    if len(described) <= 10:
        legend(axes)
    return figure


def importance_shares(results: Results) -> Figure:
    """Each layer's part in the sum of importances after each visit (EWC, MAS, SI)."""
    described = results["method"]["importances"]
    layers: dict[str, dict[str, float]] = {}  # by layer, then by visit
    for step, entry in described.items():
        for name, share in entry["shares"].items():
            layer = layers.setdefault(name.rpartition(".")[0], {})
            layer[step] = layer.get(step, 0.0) + 100 * share
    figure, axes = single(2.6 + 0.5 * len(described), max(2.6, 0.2 * len(layers)))
    below = np.zeros(len(described))
    for number, (name, shares) in enumerate(layers.items()):
        heights = np.array([shares.get(step, 0.0) for step in described])
        label = name if len(layers) <= 30 else None
        axes.bar(
            range(len(described)), heights, bottom=below, color=hue(number), width=0.75,
            edgecolor="white", lw=0.4, label=label,
        )  # fmt: skip
        below += heights
    ticks = range(0, len(described), stride(len(described)))
    visited = [str(results["visits"][int(step) - 1]) for step in described]
    axes.set_xticks(ticks, [visited[tick] for tick in ticks])
    axes.set(xlabel="after learning task", ylabel="share of the importance, %", ylim=(0, 100))
    handles, labels = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1], labels[::-1], fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5),
        frameon=False,
    )  # fmt: skip
    return figure


def accuracy_against_remaining(results: Results) -> Figure:
    """Mean accuracy of the tasks met against the weights left, a point a stage (Tickets)."""
    figure, axes = single(7, 3.6)
    lines: list[tuple[str, str, str | None]] = [
        ("ticket" if "accuracy_dense" in results else "network", "accuracy", "measured_with")
    ]
    if "accuracy_dense" in results:
        lines.append(("dense", "accuracy_dense", None))
    for number, (name, key, shares) in enumerate(lines):
        left = results["method"][shares] if shares else {}
        means = _means(results, key)
        points = [(100 * left.get(str(step + 1), 1.0), mean) for step, mean in means]
        axes.plot(*zip(*points, strict=True), "o-", color=hue(number), lw=1.2, ms=5, label=name)
        for (step, _), point in zip(means, points, strict=True):
            axes.annotate(
                f"{step + 1}", point, xytext=(4, 5), textcoords="offset points", fontsize=7
            )
    axes.set(
        xlabel="weights of convolutions left, % (numbers: tasks learned)",
        ylabel=f"mean {accuracy_label(results)}", xscale="log",
    )  # fmt: skip
    _percent_ticks(axes.xaxis)
    axes.margins(0.08)
    if len(lines) > 1:
        legend(axes)
    return figure


def dense_against_ticket(results: Results) -> Figure:
    """Mean accuracy of the tasks met of the ticket and of the dense network beside it."""
    figure, axes = single(7, 3.4)
    ends = {}
    for number, (name, key) in enumerate((("ticket", "accuracy"), ("dense", "accuracy_dense"))):
        means = _means(results, key)
        ends[name] = dict(means)
        steps, values = zip(*means, strict=True)
        axes.plot(steps, values, "os"[number] + "-", color=hue(number), lw=1.6, ms=5, label=name)
    for step, ticket in ends["ticket"].items():
        gap = ends["dense"][step] - ticket
        axes.annotate(
            f"{-gap:+.1f}", (step, min(ticket, ends["dense"][step])), xytext=(0, -12),
            textcoords="offset points", ha="center", fontsize=7,
        )  # fmt: skip
    axes.set_xticks(range(len(results["visits"])), [str(task) for task in results["visits"]])
    axes.set(xlabel="after learning task", ylabel=f"mean {accuracy_label(results)}")
    axes.margins(y=0.18)
    legend(axes)
    return figure


def density_by_layer(results: Results) -> Figure:
    """Share of each layer's weights that is left after each stage, on a logarithmic scale."""
    density = results["method"]["density"]
    layers = list(next(iter(density.values())))
    grid = 100 * np.array([[entry[layer] for entry in density.values()] for layer in layers])
    figure, axes = single(3.2 + 0.55 * len(density), 1.2 + 0.2 * len(layers))
    least = max(grid[grid > 0].min() if (grid > 0).any() else 0.01, 0.01)
    shown = np.log10(np.maximum(grid, least / 2))
    picture = axes.imshow(shown, cmap="viridis", aspect="auto", vmin=np.log10(least), vmax=2)
    middle = (np.log10(least) + 2) / 2
    for row, column in zip(*np.nonzero(grid + 1), strict=True):
        axes.text(
            column, row, f"{grid[row, column]:.3g}", ha="center", va="center", fontsize=6,
            color=INK if shown[row, column] > middle else "white",
        )  # fmt: skip
    axes.set_yticks(range(len(layers)), [name.removesuffix(".weight") for name in layers])
    axes.set_xticks(
        range(len(density)), [str(results["visits"][int(step) - 1]) for step in density]
    )
    axes.set(xlabel="ticket of task", ylabel="layer (top: input)")
    axes.grid(False)
    bar = figure.colorbar(picture, ax=axes, label="weights left, %")
    ticks = sorted({least, *(10.0**power for power in range(-1, 3) if 10.0**power > 2 * least)})
    bar.set_ticks([float(np.log10(tick)) for tick in ticks], labels=[f"{t:.3g}" for t in ticks])
    return figure


def pruning_rounds(results: Results) -> Figure:
    """Accuracy in the rounds of pruning of each task against the weights left (bottom-up)."""
    figure, axes = single(7, 3.4)
    for step, entry in results["method"]["decisions"].items():
        rounds = entry.get("rounds", [])
        if rounds:
            task, left = (
                results["visits"][int(step) - 1],
                [100 * one["remaining"] for one in rounds],
            )
            values = [100 * (one["accuracy"] - entry["dense"]) for one in rounds]
            axes.plot(left, values, "o-", color=hue(task - 1), lw=1.2, ms=3, label=f"task {task}")
    axes.axhline(0, color=INK, lw=0.8, ls=":")
    axes.set(
        xlabel="weights of convolutions left, %", ylabel="points above the dense network",
        xscale="log",
    )  # fmt: skip
    _percent_ticks(axes.xaxis)
    axes.invert_xaxis()
    legend(axes)
    return figure


def _means(results: Results, key: str) -> list[tuple[int, float]]:
    """By visit the mean accuracy of the tasks met, in percent, where it was measured."""
    matrix = 100 * from_rows(results[key], len(results["tasks"]))
    return [(step, float(np.nanmean(row))) for step, row in enumerate(matrix) if (row == row).any()]


def _percent_ticks(axis: Axis) -> None:
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
