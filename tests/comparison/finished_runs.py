"""Folders as finished runs leave them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lifelong.comparison.groups import Group, grouped
from lifelong.comparison.ledger import of_rows
from lifelong.comparison.runs import read


def run(
    folder: Path, strategy: str, seed: int, final: float, em: str | float = "paper", **changes: Any
) -> None:
    """A folder as a finished run leaves it."""
    folder.mkdir(parents=True)
    metrics = {"final_accuracy": final, "peak_accuracy": final, "forgetting_ratio": 0.9}
    metrics |= {"learning_accuracy": final, "forgetting": 0.05}
    results = {
        "strategy": strategy, "data": "toy", "seed": seed, "status": "finished",
        "tasks": ["a", "b"], "visits": [1, 2], "metrics": metrics, "parameters": 1234,
        "seconds": {"train": 7.2}, "accuracy": [[final, None], [final, final]],
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results | changes))
    published = "{peak_accuracy: [39.3, 0.1]}" if strategy == "ours" else "null"
    (folder / "config.yaml").write_text(
        f"epochs: 3\nbatch_size: 10\nlr: 0.0001\npublished: {published}\nseed: {seed}\n"
        f"strategy: {{em: {em}}}\ndata: {{}}\npaths: {{data_dir: data/{seed}}}\n"
    )


def rows_in(*folders: Path) -> list[Group]:
    return of_rows(read(folders)[0], {})


def groups_in(*folders: Path) -> list[Group]:
    return grouped(read(folders)[0])


def added(folder: Path, text: str) -> None:
    path = folder / "config.yaml"
    path.write_text(path.read_text() + text)
