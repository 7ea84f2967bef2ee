"""Figures of lifelong tickets: weights left, and what they cost."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from lifelong.drawing import INK, Drawing, Drawings, Results, accuracy_label, hue, legend, single
from lifelong.measures.matrix import from_rows, mean_of_seen


def drawings(results: Results) -> Drawings:
    """Those that the results give rise to."""
    made, method = Drawings(), results["method"]
    if method.get("remaining"):
        made["accuracy_against_remaining"] = Drawing(
            accuracy_against_remaining(results),
            "Mean accuracy of the seen tasks against the share of the "
            "convolutions' weights left, after each task.",
        )
        made["density_by_layer"] = Drawing(
            density_by_layer(results),
            "Share of each layer's weights that is left in the ticket of each task.",
        )
    if "accuracy_dense" in results:
        made["dense_against_ticket"] = Drawing(
            dense_against_ticket(results),
            "Mean accuracy of the seen tasks of the ticket and of the dense network "
            "beside it; numbers: points by which the ticket is ahead.",
        )
    if any("rounds" in entry for entry in method.get("decisions", {}).values()):
        made["pruning_rounds"] = Drawing(
            pruning_rounds(results),
            "Accuracy on the images that decide, less the dense network's, through the "
            "rounds of pruning of each task.",
        )
    return made


def accuracy_against_remaining(results: Results) -> Figure:
    """Mean accuracy of the seen tasks against the weights left, a point a stage (Tickets)."""
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
    """Mean accuracy of the seen tasks of the ticket and of the dense network beside it."""
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
    round_ones = (10.0**power for power in range(-1, 2))
    ticks = sorted({least, 100.0, *(tick for tick in round_ones if tick > 2 * least)})
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
    """By visit the mean accuracy of the seen tasks, in percent, where it was measured."""
    matrix = 100 * from_rows(results[key], len(results["tasks"]))
    means = enumerate(mean_of_seen(matrix))
    return [(step, mean) for step, mean in means if not math.isnan(mean)]


def _percent_ticks(axis: Axis) -> None:
    low, high = axis.get_view_interval()
    if high < 4 * low:  # no three of 1, 2 and 5 are in it
        axis.set_major_locator(MaxNLocator(5))
    else:
        axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
