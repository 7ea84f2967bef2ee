"""Figures of DARTS: the weights of its selectors."""

from __future__ import annotations

from matplotlib.figure import Figure

from lifelong.drawing import INK, Drawing, Drawings, Results, hue, legend, panels


def drawings(results: Results) -> Drawings:
    """Those that the results give rise to."""
    if not any("shares" in entry for entry in results["method"].get("tasks", {}).values()):
        return {}
    return {
        "selector_shares": Drawing(
            selector_shares(results),
            "Weight of the shared form of each layer through the training of each task; "
            "the title names the layers shared at the end.",
        ),
    }


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
