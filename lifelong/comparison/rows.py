"""Finished runs as rows: `lifelong.results("outputs")`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from lifelong.comparison.runs import COSTS, Run, read


def results(*folders: str | Path) -> Any:
    """The finished runs below some folders, a row each.

    Columns are folder, strategy, data, seed, the options in which the runs differ, by their dotted
    keys, then all metrics (in [0, 1] where they are shares) and costs.

    Args:
        *folders: that hold runs, at any depth.

    Returns:
        A pandas DataFrame where pandas is installed, else a list of dicts.

    Raises:
        ValueError: a folder without runs.

    >>> from lifelong import learn
    >>> folder = getfixture("tmp_path") / "run"
    >>> run = learn("trainer.threads=1", strategy="finetune", data="digits", tasks=1, epochs=1,
    ...             logger="none", paths={"output_dir": folder})
    finetune on digits, seed 1: ...
    >>> rows = results(folder)
    >>> len(rows)
    1
    """
    runs, unfinished, damaged = read([Path(folder).expanduser() for folder in folders])
    for why in damaged.values():
        print(f"left out: {why}", file=sys.stderr)
    if unfinished:
        print(f"left out: {len(unfinished)} unfinished runs", file=sys.stderr)
    keys = {key for run in runs for key in run.options}
    told = sorted(
        key for key in keys if len({str(run.options.get(key)) for run in runs}) > 1
    )  # fmt: skip
    rows = [_row(run, told) for run in runs]
    try:
        from pandas import DataFrame
    except ImportError:
        return rows
    return DataFrame(rows)


def _row(run: Run, told: list[str]) -> dict[str, Any]:
    found = run.results
    row = {"folder": str(run.folder)} | {key: found[key] for key in ("strategy", "data", "seed")}
    row |= {key: run.options.get(key) for key in told if key not in row}
    more: dict[str, Any] = found["metrics"]
    return row | more | {cost: of(found) for cost, of in COSTS.items()}
