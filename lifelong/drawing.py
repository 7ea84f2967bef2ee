"""What all figures are drawn with."""

from __future__ import annotations

import io
import math
import warnings
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lifelong.measures.matrix import Matrix, from_rows

INK, GRID = "#222831", "#d8dde3"
COLOURS = (
    *("#1f6fb4", "#e07b39", "#3a9b6e", "#b8458f", "#8c6bb1"),
    *("#a0762c", "#4fa9c9", "#c44e52", "#6b7780", "#9aa83c"),
)


Results = dict[str, Any]  # content of results.json


class Drawing(NamedTuple):
    """A figure and what is written below it."""

    figure: Figure
    caption: str


Drawings = dict[str, Drawing]  # by name of the file, without ending


def accuracy_label(results: Results) -> str:
    """What accuracies of the run are, for an axis."""
    how = ", class-incremental" if results.get("evaluate") == "class" else ""
    return f"{results.get('measured_on', 'test')} accuracy{how}, %"


def chance_of(results: Results) -> list[float]:
    """After each visit the mean accuracy by chance, in %, asked as the run is; empty if unknown."""
    way = "class" if results.get("evaluate") == "class" else "task"
    return [100 * value for value in results.get("chance", {}).get(way, ())]


def matrix_of(results: Results) -> Matrix:
    """The accuracy matrix."""
    return from_rows(results["accuracy"], len(results["tasks"]))


def single(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure with one panel; inches."""
    figure, [axes] = panels(1, 1, width, height)
    return figure, axes


def panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure with panels in rows; inches."""
    figure = Figure(figsize=(width, height), dpi=130, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.grid(True, color=GRID, lw=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure, list(grid.flat)


def words(name: str) -> str:
    r"""A name for a legend or title, where dollars begin formulas and an underscore hides it.

    >>> words("a$b$"), words("_x")
    ('a\\$b\\$', ' _x')
    """
    name = " ".join(name.split()).replace("$", r"\$")
    return f" {name}" if name.startswith("_") else name


def image(figure: Figure, kind: str = "png") -> bytes:
    """The figure as an image, `png` or `pdf`; signs that the font has not are boxes."""
    made = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(
            made, format=kind, metadata={"CreationDate": None} if kind == "pdf" else None
        )
    return made.getvalue()


def legend(axes: Axes) -> None:
    """To the right of a panel, if anything in it has a name."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            fontsize=7, ncols=1, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False,
            handlelength=2.6,
        )  # fmt: skip


def hue(task: int) -> str:
    """Of a task or line."""
    return COLOURS[task % len(COLOURS)]


def marker(number: int) -> str:
    """Of a line among many: another one whenever colours begin anew."""
    return "osD^vP*X<>"[number // len(COLOURS) % 10]


def stride(count: int) -> int:
    """Distance of ticks, at most about twenty."""
    return max(1, math.ceil(count / 20))
