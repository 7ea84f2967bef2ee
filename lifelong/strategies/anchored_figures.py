"""Figures of importances (EWC, MAS, SI)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lifelong.drawing import Drawing, Drawings, Results, hue, legend, single, stride
from lifelong.measures.history import HISTOGRAM


def drawings(results: Results) -> Drawings:
    """Those that the results give rise to."""
    if not results["method"].get("importances"):
        return {}
    return {
        "importance_histogram": Drawing(
            importance_histogram(results),
            "How many of the shared weights are of what importance for each task.",
        ),
        "importance_shares": Drawing(
            importance_shares(results), "Each layer's part in the sum of a task's importances."
        ),
    }


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
