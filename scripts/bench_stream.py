"""Whether a task late in a long stream costs more than an early one.

`python scripts/bench_stream.py [tasks [methods]]` learns permuted digits, 100 tasks by default,
with each method in a process of its own, and prints what the last tasks take over what the first
take after the first of all: seconds of training, seconds of evaluation by image asked; and how a
checkpoint and memory grow. Run it on an idle machine.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

TASKS, SOME = 100, 5  # of a stream; at each end of it that are averaged by their median
METHODS = {
    "fine-tuning": ["strategy=finetune"],
    "EWC": ["strategy=ewc", "strategy.strength=20"],
    "MAS": ["strategy=mas", "strategy.strength=1"],
    "ER": ["strategy=er"],
    "HPS": ["strategy=hps", "transfer=all"],
    "TAG": ["strategy=finetune", "optimizer=tag_rmsprop"],
}


def learned(options: list[str], tasks: int) -> list[dict[str, float]]:
    """For each task seconds of training and evaluation, bytes of its checkpoint, memory."""
    from lifelong import run
    from lifelong.configuration.compose import composed
    from lifelong.data import Visit
    from lifelong.training.console import QUIET
    from lifelong.training.experiment import Experiment

    os.environ[QUIET] = "1"
    found: list[dict[str, float]] = []
    learn = Experiment._learn

    def timed(self: Experiment, visit: Visit, saved: Any) -> None:
        before = dict(self.record.seconds)
        learn(self, visit, saved)
        spent = {name: value - before[name] for name, value in self.record.seconds.items()}
        checkpoint = self.folder / f"visit_{visit.number:02d}.ckpt"
        usage = resource.getrusage(resource.RUSAGE_SELF)
        found.append({
            "train": spent["train"], "evaluate": spent["evaluate"] / visit.number,
            "bytes": checkpoint.stat().st_size, "memory": 1024.0 * usage.ru_maxrss,
        })  # fmt: skip

    Experiment._learn = timed  # type: ignore[method-assign]
    rate = 0.001 if "optimizer=tag_rmsprop" in options else 0.01
    with tempfile.TemporaryDirectory() as folder:
        config = composed([
            "data=permuted_mnist", "data.source._target_=lifelong.data.sources.digits",
            "~data.source.data_dir", "~data.source.download", "data.shape=[1,8,8]",
            "backbone=conv_small", "backbone.shape=[1,8,8]", f"data.tasks={tasks}",
            "multi_head=lifelong.networks.MultiHead",
            "epochs=2", f"lr={rate}", "trainer=cpu", "trainer.threads=1", "logger=none",
            f"paths.output_dir={folder}/run", *options,
        ])  # fmt: skip
        if run.execute(config, options[0], "permuted digits"):
            raise SystemExit(1)
    return found


def measured(options: list[str], tasks: int) -> list[dict[str, float]]:
    """As `learned`, in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(learned, (options, tasks))


def main() -> None:
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else TASKS
    table = Table(
        "late over early", "training", "evaluation of a task", "checkpoint, KiB", "KiB a task",
        "memory, MiB", "MiB a task", title=f"{tasks} tasks of permuted digits",
    )  # fmt: skip
    with Live(table, console=Console(width=100)):
        for name in sys.argv[2:] or METHODS:
            options = METHODS[name]
            rows = measured(options, tasks)
            early, late = rows[1 : 1 + SOME], rows[-SOME:]
            between = len(rows) - 1 - SOME  # tasks from the middle of the early to that of the late
            train, evaluate = (
                statistics.median(row[key] for row in late)
                / statistics.median(row[key] for row in early)
                for key in ("train", "evaluate")
            )
            size, memory = (late[-1][key] for key in ("bytes", "memory"))
            more, grown = (
                (late[-1][key] - early[-1][key]) / between for key in ("bytes", "memory")
            )
            table.add_row(
                name, f"{train:.2f}", f"{evaluate:.2f}", f"{size / 2**10:.0f}",
                f"{more / 2**10:.1f}", f"{memory / 2**20:.0f}", f"{grown / 2**20:.2f}",
            )  # fmt: skip


if __name__ == "__main__":
    main()
