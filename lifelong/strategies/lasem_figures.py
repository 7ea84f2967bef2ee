"""Figures of LASEM: the prior and the posterior over configurations."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from lifelong.drawing import INK, Drawing, Drawings, Results, hue, legend, panels, single


def drawings(results: Results) -> Drawings:
    """Those that the results give rise to."""
    if not any("prior" in entry for entry in results["method"].get("tasks", {}).values()):
        return {}
    return {
        "configuration_prior": Drawing(
            configuration_prior(results),
            "Probability of each configuration through the training of each task; "
            "the title names the one chosen.",
        ),
        "posterior_entropy": Drawing(
            posterior_entropy(results),
            "Mean entropy of the posterior over configurations in each epoch; "
            "dotted: all equally likely.",
        ),
    }


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
