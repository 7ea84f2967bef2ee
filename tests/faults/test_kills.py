"""Runs, sweeps and searches that are killed at random moments end as if they had not been."""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lifelong.comparison import compare
from lifelong.storage.checkpoint import latest
from lifelong.storage.locks import LOCK, OURS
from tests.conftest import differences, execute, results_of
from tests.faults.conftest import Tally
from tests.processes import Command, fresh
from tests.test_contract import FAST, WAYS, chosen

pytestmark = pytest.mark.faults
KILLS = 6  # of a run, a sweep, a search
STEPS = [*FAST, "data.order=[1,2,3,1]", "tasks=4", "epochs=6", "checkpoint_every=1"]
OPTIMIZERS = [
    "finetune optimizer=tag_rmsprop lr=0.0005",
    "finetune optimizer=tag_adam lr=0.0005 optimizer.weights=gradients optimizer.first_gradients=3",
    "single_task optimizer=tag_rmsprop lr=0.0005",
    "lasem_hps optimizer=adam optimizer_lifetime=stream",
]


def killed(
    folder: Path, command: list[str], seconds: float, draw: random.Random, kills: int = KILLS
) -> int:
    """Starts a command and kills it and all that it began, so many times; gives how often it
    was caught alive."""
    caught = 0
    for _ in range(kills):
        process = started(folder, command)
        time.sleep(draw.uniform(0.1, seconds))
        caught += process.poll() is None
        with suppress(ProcessLookupError):  # it is through
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    return caught


def started(folder: Path, command: list[str]) -> Command | subprocess.Popen[str]:
    several = "hydra/launcher=joblib" in command  # starts processes of its own
    return (fresh if several else Command)(folder, *command, session=True)


def timed(folder: Path, command: list[str]) -> float:
    """The seconds of a command that is left alone."""
    begun = time.monotonic()
    process = started(folder, command)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    return time.monotonic() - begun


def leftovers(folder: Path) -> list[str]:
    return [
        path.name for path in folder.rglob("*")
        if OURS.fullmatch(path.name) or path.name in (LOCK, "partial.ckpt", "study.journal.lock")
    ]  # fmt: skip


def compared(whole: Path, broken: Path) -> tuple[list[str], int]:
    """Where two runs differ; and how many tensors were compared."""
    wrong = [] if results_of(whole) == results_of(broken) else ["results.json"]
    if (whole / "accuracy.csv").read_bytes() != (broken / "accuracy.csv").read_bytes():
        wrong.append("accuracy.csv")
    states = []
    for folder in (whole, broken):
        saved, damaged = latest(folder)
        assert saved is not None
        assert not damaged
        state = dict(vars(saved))
        state["record"] = {**state["record"], "seconds": None, "peak_memory": None}
        states.append(state)
    more, count = differences(*states)
    return wrong + more, count


def lived_through(folder: Path, command: list[str], seed: object) -> int:
    """Runs a command whole, and in another folder killed and gone on with; gives the kills.

    The folders are `whole` and `broken`.
    """
    seconds = timed(folder, [*command, "paths.output_dir=whole"])
    again = [*command, "paths.output_dir=broken"]
    caught = killed(folder, again, seconds / 2, random.Random(str(seed)))
    timed(folder, again)
    return caught


def settle(tally: Tally, row: str, caught: int, wrong: object, broken: Path) -> None:
    """Counts what was killed, and demands that it ended right and left nothing."""
    left = leftovers(broken)
    tally(row, caught, caught * bool(wrong))
    tally("leftovers", 1, bool(left))
    assert not wrong
    assert not left


def settle_runs(tally: Tally, caught: int, folder: Path) -> None:
    wrong, count = compared(folder / "whole", folder / "broken")
    tally("tensors", count, len(wrong))
    settle(tally, "kills", caught, wrong, folder / "broken")


@pytest.mark.parametrize("strategy", [*WAYS, *OPTIMIZERS])
def test_a_killed_run_ends_as_one_that_was_not(strategy: str, tmp_path: Path, tally: Tally) -> None:
    caught = lived_through(tmp_path, [*STEPS, *chosen(strategy), "resume=auto"], strategy)
    settle_runs(tally, caught, tmp_path)


def test_a_killed_retraining(tmp_path: Path, tally: Tally) -> None:
    first = tmp_path / "first"
    small = [*FAST, "tasks=3", "epochs=2", *chosen("tickets_bu"), "keep=all"]
    assert execute(first, *small) == 0
    command = [
        *FAST, "tasks=2", "strategy=retrain", f"strategy.run={first}", "strategy.visit=2",
        "batch_size=64", "epochs=30", "checkpoint_every=1", "resume=auto",
    ]  # fmt: skip
    settle_runs(tally, lived_through(tmp_path, command, 0), tmp_path)


@pytest.mark.parametrize("number", range(3))
def test_a_killed_sweep(number: int, tmp_path: Path, tally: Tally) -> None:
    swept = ["strategy=finetune,ewc,er", "seed=1,2", "lr=0.01,0.003"]
    if number == 2:
        swept = ["strategy=lasem_hps", "seed=1,2", "hydra/launcher=joblib"]
        swept += ["hydra.launcher.n_jobs=2"]
    command = ["-m", *FAST, "epochs=2", "checkpoint_every=1", *swept]
    caught = lived_through(tmp_path, command, number)
    tables = []
    for name in ("whole", "broken"):
        assert compare.main([str(tmp_path / name)]) == 0
        tables.append((tmp_path / name / "comparison.csv").read_text())
    settle(tally, "sweeps", caught, tables[0] != tables[1], tmp_path / "broken")


@pytest.mark.parametrize("sampler", ["tpe", "random", "grid"])
def test_a_killed_search(sampler: str, tmp_path: Path, tally: Tally) -> None:
    space = ["lr=interval(0.001,0.1)", "search.trials=4"] if sampler != "grid" else ["lr=0.1,0.01"]
    command = [
        "-m", *FAST, "strategy=finetune", "data.validation=0.2", "epochs=2", "checkpoint_every=1",
        f"search={sampler}", "seed=1,2", *space,
    ]  # fmt: skip
    caught = lived_through(tmp_path, command, sampler)
    tables = []
    for name in ("whole", "broken"):
        with (tmp_path / name / "search.csv").open() as file:
            rows = list(csv.DictReader(file))
        tables.append([{k: v for k, v in row.items() if "second" not in k} for row in rows])
    settle(tally, "searches", caught, tables[0] != tables[1], tmp_path / "broken")
