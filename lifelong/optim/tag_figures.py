"""Figures of TAG: how related tasks are."""

from __future__ import annotations

import math

import numpy as np
from matplotlib.figure import Figure

from lifelong.drawing import INK, Drawing, Drawings, Results, single, stride


def drawings(results: Results) -> Drawings:
    """Those that the results give rise to."""
    if not any(results["method"].get("relatedness", {}).values()):
        return {}
    return {
        "relatedness": Drawing(
            relatedness(results),
            "Weight of earlier tasks' second moments in the steps of each task, the mean over its "
            "last epoch and all tensors: below 1 where gradients agree, above where they oppose.",
        )
    }


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
