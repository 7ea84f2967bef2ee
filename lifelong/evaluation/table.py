"""`python -m lifelong.evaluation.table FOLDER...`: the runs below some folders as one table."""

from __future__ import annotations

import argparse
import io
import json
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lifelong import configuration
from lifelong.files import write_bytes

COLUMNS = {  # metric: heading, factor, digits
    "final_accuracy": ("final %", 100, 1),
    "learning_accuracy": ("learning %", 100, 1),
    "peak_accuracy": ("peak %", 100, 1),
    "forgetting": ("forgetting", 1, 3),
    "backward_transfer_with_last": ("backward %", 100, 2),
    "forgetting_ratio": ("ratio", 1, 3),
}
FIDELITY = {"clean": "", "authors": ", as released"}
ASKED = {"task": "", "both": "", "class": ", task not given"}
MEASURED = {"test": "", "validation": ", measured on validation images"}
SEEDS = ("seed", "seeds.init", "seeds.batches", "data.seed", "data.shuffle_seed", "name")


@dataclass
class Row:
    """The finished runs of one method on one stream, alike but for seeds.

    Attributes:
        method: its name, and the options in which rows of that name differ.
        name: its name.
        options: the configuration, flat, without what does not matter for results.
    """

    method: str
    name: str
    data: str
    protocol: str
    options: dict[str, Any]
    published: dict[str, list[float]]
    runs: list[dict[str, Any]] = field(default_factory=list)

    def mean(self, metric: str) -> float:
        """Over the runs."""
        return float(statistics.mean(run["metrics"][metric] for run in self.runs))


def rows(folders: Sequence[Path]) -> tuple[list[Row], list[Path]]:
    """Finished runs below the folders in groups, in the order of their names; and unfinished ones.

    The runs of a group differ by seeds alone. Groups of one method are named by what differs.

    Raises:
        ValueError: a folder without runs.
    """
    groups: dict[str, Row] = {}
    unfinished, seen = [], set[Path]()
    for folder in folders:
        found = sorted(folder.rglob("results.json"))
        if not found:
            raise ValueError(f"{folder}: holds no runs (no results.json)")
        for path in (path for path in found if path.resolve() not in seen):
            seen.add(path.resolve())
            results = json.loads(path.read_text(encoding="utf-8"))
            config: Any = OmegaConf.load(path.with_name("config.yaml"))
            if results["status"] != "finished":
                unfinished.append(path.parent)
                continue
            protocol = (
                f"{len(results['tasks'])} tasks, {config.epochs} epochs, batch {config.batch_size}"
                f"{FIDELITY[results.get('fidelity', 'clean')]}"
                f"{MEASURED[results.get('measured_on', 'test')]}"
                f"{ASKED[results.get('evaluate', 'task')]}"
            )
            options = {k: v for k, v in configuration.leaves(config) if k not in SEEDS}
            row = Row(
                results["strategy"],
                results["strategy"],
                results["data"],
                protocol,
                options,
                dict(config.get("published") or {}),
            )
            key = json.dumps([row.data, protocol, row.method, options], default=str)
            groups.setdefault(key, row).runs.append(results)
    made = [groups[key] for key in sorted(groups)]
    _tell_apart(made)
    return made, unfinished


def _tell_apart(made: Sequence[Row]) -> None:
    """Adds to the names of rows of one method the options in which they differ."""
    alike: dict[tuple[str, str, str], list[Row]] = {}
    for row in made:
        alike.setdefault((row.data, row.protocol, row.method), []).append(row)
    for group in alike.values():
        keys = {key for row in group for key in row.options}
        told = set()  # what other keys say already
        for key in sorted(keys, key=lambda key: (len(key), key)):
            values = tuple(str(row.options.get(key)) for row in group)
            if len(set(values)) > 1 and values not in told:
                told.add(values)
                for row in group:
                    row.method += f" {key}={row.options.get(key)}"


def cell(values: Sequence[float], factor: float, digits: int = 2) -> str:
    """Mean and, of several, the standard deviation of the sample and in brackets of the population.

    >>> cell([0.5, 0.6], 100, 1)
    '55.0 +- 7.1 (5.0)'
    """
    scaled = [factor * value for value in values if value is not None and not math.isnan(value)]
    if not scaled:
        return "-"
    mean = f"{statistics.mean(scaled):.{digits}f}"
    if len(scaled) == 1:
        return mean
    spreads = statistics.stdev(scaled), statistics.pstdev(scaled)
    return f"{mean} +- {spreads[0]:.{digits}f} ({spreads[1]:.{digits}f})"


def best(found: Sequence[Row]) -> list[Row]:
    """Of the rows of each method the one of the highest mean final accuracy."""
    chosen: dict[tuple[str, str, str], Row] = {}
    for row in found:
        key = row.data, row.protocol, row.name
        if key not in chosen or row.mean("final_accuracy") > chosen[key].mean("final_accuracy"):
            chosen[key] = row
    return list(chosen.values())


def markdown(found: Sequence[Row]) -> str:
    """A table for each stream and protocol, ours beside the published figures."""
    parts = []
    for data, protocol in sorted({(row.data, row.protocol) for row in found}):
        here = [row for row in found if (row.data, row.protocol) == (data, protocol)]
        wanted = [name for name in COLUMNS if any(name in row.published for row in here)]
        heads = ["method", "n", *(heading for heading, _, _ in COLUMNS.values())]
        heads += [f"published {COLUMNS[name][0]}" for name in wanted]
        heads += ["parameters", "seconds of training"]
        lines = [f"{data}: {protocol}", "", _line(heads), _line(["---"] * len(heads))]
        for row in here:
            cells = [f"`{row.method}`", str(len(row.runs))]
            for key, (_, factor, digits) in COLUMNS.items():
                values = [run["metrics"].get(key) for run in row.runs]
                cells.append(cell(values, factor, digits))
            for name in wanted:
                mean, spread = row.published.get(name, ("-", None))
                cells.append(f"{mean}" if spread is None else f"{mean} +- {spread}")
            cells.append(f"{statistics.mean(run['parameters'] for run in row.runs):,.0f}")
            cells.append(cell([run["seconds"]["train"] for run in row.runs], 1, 0))
            lines.append(_line(cells))
        parts.append("\n".join(lines))
    note = "Mean +- standard deviation of the sample (of the population) over n runs."
    several = any(len(row.runs) > 1 for row in found)
    return "\n\n".join([*parts, note] if several else parts) + "\n"


def curves(
    found: Sequence[Row], option: str
) -> dict[str, list[tuple[float, list[dict[str, float]]]]]:
    """By method and stream, pairs of a numeric option's value and the metrics of its runs."""
    made: dict[str, list[tuple[float, list[dict[str, float]]]]] = {}
    for row in found:
        value = row.options.get(option)
        if isinstance(value, int | float):
            metrics = [run["metrics"] for run in row.runs]
            made.setdefault(f"{row.name}, {row.data}", []).append((float(value), metrics))
    return made


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def main(arguments: Sequence[str]) -> int:
    """Prints the table, or draws the figure; the exit status is 2 for a mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m lifelong.evaluation.table",
        description="The finished runs below some folders as one table, averaged over seeds.",
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--best", action="store_true", help="of each method only the best final accuracy's options"
    )
    parser.add_argument(
        "--figure", metavar="OPTION", help="draw accuracy and forgetting against this option"
    )
    given = parser.parse_args(arguments)
    try:
        found, unfinished = rows(given.folders)
        if given.figure:
            return _draw(found, given.figure, given.folders[0])
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(markdown(best(found) if given.best else found))
    for folder in unfinished:
        print(f"not finished: {folder}", file=sys.stderr)
    return 0


def _draw(found: Sequence[Row], option: str, folder: Path) -> int:
    from lifelong.evaluation.figures import against_option

    image = io.BytesIO()
    against_option(curves(found, option), option).savefig(image, format="png")
    path = folder / f"against_{option}.png"
    write_bytes(path, image.getvalue())
    print(f"figure: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
