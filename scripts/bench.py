"""All promises of speed in one table: `python scripts/bench.py [names]`, some fifteen minutes.

Runs the other benchmarks in their quick form, one after the other, and prints each figure beside
its target, and whether it is met. Names are those of the scripts: `tag peers`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from timing import NOTES

HERE = Path(__file__).parent
COMMANDS = {
    "start": [],
    "augment": ["--quick"],
    "answers": ["--quick"],
    "peers": ["--quick"],
    "lasem": ["--quick"],
    "tag": ["--quick"],
    "mas": ["--quick"],
    "tickets": ["--quick"],
    "stream": ["30", "fine-tuning", "ER"],
    "launches": ["finetune", "er", "lasem_hps"],
}


def verdict(value: float, target: str) -> str:
    """Whether a figure is as its target says.

    >>> verdict(1.2, "at most 1.1"), verdict(9, "over 8"), verdict(3, "-")
    ('missed', 'met', '-')
    """
    found = re.fullmatch(r"(at most|at least|over) ([\d.]+)", target)
    if found is None:
        return "-"
    wanted = float(found[2])
    met = value <= wanted if found[1] == "at most" else value >= wanted
    return "met" if met else "missed"


def main() -> int:
    names = sys.argv[1:] or list(COMMANDS)
    unknown = [name for name in names if name not in COMMANDS]
    if unknown:
        print(f"{unknown[0]}: there is no such benchmark; give {', '.join(COMMANDS)}")
        return 2
    table = Table("benchmark", "what", "value", "target", "verdict")
    failed = []
    for name in names:
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            notes = Path(folder) / "notes"
            command = [sys.executable, str(HERE / f"bench_{name}.py"), *COMMANDS[name]]
            environment = {**os.environ, NOTES: str(notes), "OMP_NUM_THREADS": "1"}
            if subprocess.run(command, env=environment, check=False).returncode:
                failed.append(name)
            lines = notes.read_text().splitlines() if notes.exists() else []
        for found in map(json.loads, lines):
            value, target = found["value"], found["target"]
            table.add_row(name, found["what"], f"{value:.3g}", target, verdict(value, target))
        table.add_row(name, "seconds", f"{time.monotonic() - begun:.0f}", "-", "-")
    Console(width=120).print(table)
    for name in failed:
        print(f"{name}: failed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
