"""What a run costs beside its training: `python scripts/bench_start.py`.

(a) seconds of a core of the shortest run on digits / of importing PyTorch and Lightning alone
(b) GiB that it has resident at most
(c) seconds from its last line to its end
(d) seconds of all cores of a sweep of 24 runs of half a second / of training and evaluation in them
(e) the same of runs ten times as long
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table
from timing import note

TURNS = 3
IMPORTS = ["-c", "import os, torch, lightning; os._exit(0)"]
SHORT = [
    "-m", "lifelong.run", "strategy=finetune", "data=digits", "tasks=2", "epochs=1", "logger=none",
]  # fmt: skip
SWEEP = [
    "-m", "lifelong.run", "-m", "strategy=hps,tf,dfcnn", "transfer=all,none", "seed=1,2,3,4",
    "data=digits", "tasks=3", "logger=none", "hydra/launcher=joblib",
]  # fmt: skip
ALONE = {**os.environ, "OMP_NUM_THREADS": "1"}


def main() -> None:
    table = Table("what", "value", "target")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        ratios, memory, ends = [], [], []
        for turn in range(TURNS):
            imports, _, _ = spent(IMPORTS)
            seconds, gib, end = spent([*SHORT, f"paths.output_dir={place / str(turn)}"])
            ratios.append(seconds / imports)
            memory.append(gib)
            ends.append(end)
        found = [
            ("(a) shortest run / imports", statistics.median(ratios), "at most 1.5"),
            ("(b) resident, GiB", max(memory), "at most 0.9"),
            ("(c) last line to end, s", statistics.median(ends), "at most 0.5"),
            ("(d) sweep of runs of 0.6 s / its training", sweep(place / "short", 6), "at most 1.3"),
            ("(e) sweep of runs of 6 s / its training", sweep(place / "sweep", 60), "at most 1.3"),
        ]
    for what, value, target in found:
        table.add_row(what, f"{value:.2f}", target)
        note(what, value, target)
    Console(width=100).print(table)


def spent(arguments: list[str]) -> tuple[float, float, float]:
    """Seconds of a core, GiB resident at most, seconds from the last line to the end."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, env=ALONE)
    assert process.stdout is not None
    last = time.perf_counter()
    for _ in process.stdout:
        last = time.perf_counter()
    _, status, usage = os.wait4(process.pid, 0)
    end = time.perf_counter() - last
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"failed: {' '.join(arguments)}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20, end


def sweep(folder: Path, epochs: int) -> float:
    """Seconds of all cores that a sweep took over those in which its runs trained and answered."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, *SWEEP, f"epochs={epochs}", f"paths.output_dir={folder}"]
    subprocess.run(command, check=True, env=ALONE, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    runs = [json.loads(path.read_text())["seconds"] for path in folder.glob("*/results.json")]
    return spent / sum(run["train"] + run["evaluate"] for run in runs)


if __name__ == "__main__":
    main()
