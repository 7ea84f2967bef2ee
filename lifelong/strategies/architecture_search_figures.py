"""Figures of methods that choose a configuration of layers."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lifelong.drawing import INK, Drawing, Drawings, Results, single


def drawings(results: Results) -> Drawings:
    """Those that the results give rise to."""
    if not any("chosen" in entry for entry in results["method"].get("tasks", {}).values()):
        return {}
    return {
        "chosen_layers": Drawing(
            chosen_layers(results), "Which layers each task shares with the others."
        ),
    }


def chosen_layers(results: Results) -> Figure:
    """Which layers each task shares."""
    tasks = {int(task): entry for task, entry in results["method"]["tasks"].items()}
    chosen = {task: entry["chosen"] for task, entry in sorted(tasks.items()) if "chosen" in entry}
    grid = np.array([[int(figure) for figure in config] for config in chosen.values()]).T
    depth, count = grid.shape
    figure, axes = single(1.6 + 0.42 * count, 1.2 + 0.32 * depth)
    most = int(grid.max(initial=1))
    shown = np.minimum(grid, 1)
    axes.imshow(shown, cmap="Blues", vmin=-0.25, vmax=1.25, aspect="auto", origin="lower")
    for layer, column in zip(*np.nonzero(grid + 1), strict=True):
        form = grid[layer, column]
        word = "own" if not form else "shared" if most == 1 else f"slot {form}"
        colour = "white" if grid[layer, column] else INK
        axes.text(column, layer, word, ha="center", va="center", color=colour, fontsize=6)
    axes.set_xticks(range(count), [str(task) for task in chosen])
    axes.set_yticks(range(depth), [str(layer + 1) for layer in range(depth)])
    axes.set(xlabel="task", ylabel="layer (1: input)")
    axes.grid(False)
    return figure
