"""Whether a task late in a long stream costs more than an early one.

`python scripts/bench_stream.py [tasks [methods]]` learns permuted digits, 100 tasks by default,
with each method in a process of its own, and prints what the last tasks take over what the first
take after the first of all: seconds of training, seconds of evaluation by image asked; how what is
done beside them (the begin of a task, results, checkpoint), a checkpoint and memory grow; and how
long it takes to go on at the last task. Seconds are counted in those of a yardstick, bare training
steps that are the same before and after those tasks: so a machine that gets slower in between does
not show. Streams of more than 100 tasks test the task learned alone, but at their end.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from timing import note

TASKS, SOME = 100, 9  # of a stream; at each end of it that are averaged by their median
YARD = 200  # steps of the yardstick
METHODS = {
    "fine-tuning": ["strategy=finetune"],
    "EWC": ["strategy=ewc", "strategy.strength=20"],
    "MAS": ["strategy=mas", "strategy.strength=1"],
    "ER": ["strategy=er"],
    "HPS": ["strategy=hps", "transfer=all"],
    "TAG": ["strategy=finetune", "optimizer=tag_rmsprop"],
}


def yardstick() -> Callable[[], float]:
    """Gives what measures the seconds of training steps of a small network, without a framework."""
    import torch
    from torch import nn

    with torch.random.fork_rng(devices=[]):
        net = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 10),
        )  # fmt: skip
        x, y = torch.randn(32, 1, 8, 8), torch.arange(32) % 10
    optimizer = torch.optim.SGD(net.parameters(), lr=0.0)

    def seconds() -> float:
        begun = time.perf_counter()
        for _ in range(YARD):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
        return time.perf_counter() - begun

    seconds()
    return seconds


def learned(options: list[str], tasks: int) -> list[dict[str, float]]:
    """For each task seconds of training and evaluation, bytes of its checkpoint, memory."""
    from lifelong import run
    from lifelong.configuration.compose import composed
    from lifelong.data import Visit
    from lifelong.training.console import QUIET
    from lifelong.training.experiment import Experiment

    os.environ[QUIET] = "1"
    found: list[dict[str, float]] = []
    learn, yard = Experiment._learn, yardstick()
    whole = tasks <= TASKS
    looked_at = {*range(2, 2 + SOME), *range(tasks - SOME, tasks)}
    begun = 0.0

    def timed(self: Experiment, visit: Visit, saved: Any) -> None:
        if visit.number == tasks:  # here the run is stopped, and goes on
            found[-1]["resume"] = time.perf_counter() - begun
            raise KeyboardInterrupt
        before, measured = dict(self.record.seconds), visit.number in looked_at
        first, from_here = yard() if measured else 0.0, time.perf_counter()
        learn(self, visit, saved)
        took = time.perf_counter() - from_here
        if not measured:
            return
        measure = (first + yard()) / 2
        seconds = self.record.seconds
        spent = {name: value - before[name] for name, value in seconds.items()}
        checkpoint = self.folder / f"visit_{visit.number:02d}.ckpt"
        usage = resource.getrusage(resource.RUSAGE_SELF)
        found.append({
            "train": spent["train"] / measure,
            "evaluate": spent["evaluate"] / measure / (visit.number if whole else 1),
            "rest": took - spent["train"] - spent["evaluate"], "yard": measure,
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
            f"paths.output_dir={folder}/run", *options, "resume=auto",
            *([] if whole else [f"evaluate_every_visits={tasks}"]),
        ])  # fmt: skip
        for _ in range(2):
            begun = time.perf_counter()
            with suppress(KeyboardInterrupt):
                run.execute(config.copy(), options[0], "permuted digits")
            if len(found) < 2 * SOME:
                raise SystemExit(1)
    return found


def measured(options: list[str], tasks: int) -> list[dict[str, float]]:
    """As `learned`, in a new process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(learned, options, tasks).result()


def main() -> None:
    tasks = int(sys.argv[1]) if len(sys.argv) > 1 else TASKS
    table = Table(
        "late over early", "training", "evaluation of a task", "yardstick", "rest, s",
        "ms a task", "checkpoint, KiB", "KiB a task", "memory, MiB", "MiB a task", "resumed, s",
        title=f"{tasks} tasks of permuted digits",
    )  # fmt: skip
    with Live(table, console=Console(width=120)):
        for name in sys.argv[2:] or METHODS:
            options = METHODS[name]
            rows = measured(options, tasks)
            early, late = rows[:SOME], rows[-SOME:]
            between = tasks - 2 - SOME  # tasks from the middle of the early to that of the late
            train, evaluate, yard = (
                statistics.median(row[key] for row in late)
                / statistics.median(row[key] for row in early)
                for key in ("train", "evaluate", "yard")
            )
            first, rest = (statistics.median(row["rest"] for row in part) for part in (early, late))
            size, memory = (late[-1][key] for key in ("bytes", "memory"))
            more, grown = (
                (late[-1][key] - early[-1][key]) / between for key in ("bytes", "memory")
            )
            table.add_row(
                name, f"{train:.2f}", f"{evaluate:.2f}", f"{yard:.2f}", f"{rest:.2f}",
                f"{1000 * (rest - first) / between:.2f}", f"{size / 2**10:.0f}",
                f"{more / 2**10:.1f}", f"{memory / 2**20:.0f}", f"{grown / 2**20:.2f}",
                f"{late[-1]['resume']:.1f}",
            )  # fmt: skip
            note(f"{name}, training of late over early of {tasks} tasks", train, "at most 1.1")


if __name__ == "__main__":
    main()
