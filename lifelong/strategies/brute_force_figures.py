"""Figures of brute force: what each configuration came to."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from lifelong.drawing import INK, Drawing, Drawings, Results, single


def drawings(results: Results) -> Drawings:
    """Those that the results give rise to."""
    if not any(
        "validation_accuracy" in entry for entry in results["method"].get("tasks", {}).values()
    ):
        return {}
    return {
        "candidate_accuracy": Drawing(
            candidate_accuracy(results), "Best validation accuracy of each configuration, by task."
        ),
    }


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
