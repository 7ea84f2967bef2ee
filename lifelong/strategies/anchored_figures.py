"""Figures of importances (EWC, MAS, SI)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lifelong.drawing import Drawing, Drawings, Results, hue, legend, single, stride
from lifelong.measures.history import HISTOGRAM

HEADS = "heads"  # module of a network that holds one for each task
MOST_LINES, MOST_LAYERS, MOST_BARS = 10, 30, 20  # that can be told apart


def drawings(results: Results) -> Drawings:
    """Those that the results give rise to."""
    if not results["method"].get("importances"):
        return {}
    return {
        "importance_histogram": Drawing(
            importance_histogram(results),
            "How many of the shared weights are of what importance for each task, or for some.",
        ),
        "importance_shares": Drawing(
            importance_shares(results), "Each layer's part in the sum of a task's importances."
        ),
    }


def importance_histogram(results: Results) -> Figure:
    """How many weights are of what importance after each visit, or some (EWC, MAS, SI)."""
    described = results["method"]["importances"]
    (first, last, steps), share = HISTOGRAM, 100.0
    edges = np.linspace(first, last, steps + 1)
    figure, axes = single(7, 3.2)
    filled = np.zeros(steps, dtype=bool)
    apart = math.ceil(len(described) / MOST_LINES)
    for step, entry in list(described.items())[::-1][::apart][::-1]:
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
    legend(axes)
    return figure


def importance_shares(results: Results) -> Figure:
    """Each layer's part in the sum of importances after each visit (EWC, MAS, SI)."""
    described = results["method"]["importances"]
    layers = _layers(described)
    wide = 2.6 + 0.5 * min(len(described), MOST_BARS)
    figure, axes = single(wide, max(2.6, 0.2 * len(layers)))
    places = np.arange(len(described))
    below = np.zeros(len(described))
    for number, (name, heights) in enumerate(layers.items()):
        look: dict[str, Any] = {"color": hue(number), "label": name}
        if len(described) <= MOST_BARS:
            axes.bar(places, heights, bottom=below, width=0.75, edgecolor="white", lw=0.4, **look)
        else:
            axes.fill_between(places, below, below + heights, step="mid", lw=0, **look)
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


def _layers(described: dict[str, Any]) -> dict[str, NDArray[np.float64]]:
    """Of each layer its share in % after each visit: all heads as one, the smallest as one."""
    found: dict[str, NDArray[np.float64]] = {}
    for place, entry in enumerate(described.values()):
        for name, share in entry["shares"].items():
            layer = HEADS if name.startswith(f"{HEADS}.") else name.rpartition(".")[0]
            found.setdefault(layer, np.zeros(len(described)))[place] += 100 * share
    if len(found) <= MOST_LAYERS:
        return found
    large = sorted(found, key=lambda name: -found[name].sum())[: MOST_LAYERS - 1]
    rest = [found[name] for name in found if name not in large]
    shown = {name: heights for name, heights in found.items() if name in large}
    return shown | {f"{len(rest)} other layers": np.sum(rest, axis=0)}
