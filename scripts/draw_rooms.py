"""Draws which room of the package imports which: `python scripts/draw_rooms.py [FILE]`.

The rows are the layers of the contract in pyproject.toml, the highest above; the numbers how many
modules a room has. Writes docs/rooms.png by default; needs the packages of `lifelong[dev]`.
"""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from pathlib import Path

import grimp
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]
PACKAGE = "lifelong"


def layers() -> list[list[str]]:
    """The rooms of each layer, from above."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    contract = next(c for c in tool["importlinter"]["contracts"] if c["type"] == "layers")
    return [[room.strip() for room in layer.split("|")] for layer in contract["layers"]]


def imports() -> tuple[Counter[tuple[str, str]], Counter[str]]:
    """How many imports go from a room to another, and how many modules a room has."""
    graph = grimp.build_graph(PACKAGE)
    arrows, sizes = Counter[tuple[str, str]](), Counter[str]()
    for module in graph.modules - {PACKAGE}:
        room = module.split(".")[1]
        sizes[room] += 1
        for imported in graph.find_modules_directly_imported_by(module):
            parts = imported.split(".")
            if len(parts) > 1 and parts[1] != room:
                arrows[room, parts[1]] += 1
    return arrows, sizes


def drawn() -> Figure:
    """The picture."""
    arrows, sizes = imports()
    rows = layers()
    places = {
        room: ((number + 0.5) / len(row), float(len(rows) - level))
        for level, row in enumerate(rows)
        for number, room in enumerate(row)
    }
    figure = Figure(figsize=(9, 9.5))
    axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
    for (room, other), count in arrows.items():
        (x, y), (to_x, to_y) = places[room], places[other]
        bend = 0.0 if abs(y - to_y) <= 1 or x != to_x else 0.25
        axes.annotate(
            "", (to_x, to_y + 0.2), (x, y - 0.2),
            arrowprops={
                "arrowstyle": "-|>", "lw": 0.5 + min(count, 40) / 20, "alpha": 0.45,
                "color": "#b03030" if to_y >= y else "#30507f",
                "connectionstyle": f"arc3,rad={bend}", "shrinkA": 0, "shrinkB": 0,
            },
        )  # fmt: skip
    for room, (x, y) in places.items():
        label = f"{room}\n{sizes[room]}" if sizes[room] > 1 else f"{room}.py"
        box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "#30507f"}
        axes.text(x, y, label, ha="center", va="center", fontsize=9, bbox=box)
    axes.set_xlim(0, 1)
    axes.set_ylim(0.4, len(rows) + 0.6)
    axes.axis("off")
    return figure


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "rooms.png"
    drawn().savefig(target, dpi=110)
    print(target)
