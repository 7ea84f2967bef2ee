"""Ratios of times within one process, for the benchmarks: the two sides take turns.

Times are the process's own on the CPU, which other work on the machine disturbs little.
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

NOTES = "LIFELONG_BENCH_NOTES"
Work = Callable[[], object]
Case = tuple[str, Work, Work, int, str]  # name, the two sides, times a turn, target


def quiet() -> None:
    """One thread, and nothing of what Lightning says."""
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.set_num_threads(1)


def seconds(work: Work, times: int) -> float:
    """Of one call, the mean of `times`."""
    begun = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - begun) / times


def ratio(one: Work, other: Work, pairs: int, times: int) -> list[float]:
    """Ratios of the times of two works that take turns, after one turn unmeasured."""
    one(), other()
    return [seconds(one, times) / seconds(other, times) for _ in range(pairs)]


def note(what: str, value: float, target: str = "-") -> None:
    """Keeps a figure for the table of `scripts/bench.py`, which names the file."""
    if NOTES in os.environ:
        with Path(os.environ[NOTES]).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"what": what, "value": value, "target": target}) + "\n")


def show(cases: Sequence[Case], pairs: int) -> None:
    """Measures and prints the median ratio of each case, with the range."""
    table = Table("ratio", "median", "least", "most", "target")
    for name, one, other, times, target in track(cases, "measuring"):
        found = ratio(one, other, pairs, times)
        low, high = min(found), max(found)
        table.add_row(name, f"{statistics.median(found):.3f}", f"{low:.3f}", f"{high:.3f}", target)
        note(name, statistics.median(found), target)
    Console(width=100).print(table)
