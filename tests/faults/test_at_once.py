"""Several processes at once: on one cache of images, and in one folder."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

import pytest

from tests.conftest import results_of
from tests.faults.conftest import Tally
from tests.faults.test_kills import leftovers
from tests.faults.test_malformed import OWN, small_tree
from tests.processes import Command
from tests.test_contract import FAST

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("number", range(6))
def test_four_runs_on_one_cache(number: int, tmp_path: Path, tally: Tally) -> None:
    """Two of them are killed while they read the images; the others wait for them, or read."""
    draw = random.Random(number)
    small_tree(tmp_path / "images", draw, classes=40)
    command = [*OWN, f"data.root={tmp_path / 'images'}", f"paths.data_dir={tmp_path / 'data'}"]
    alone = Command(tmp_path, *command, "paths.output_dir=alone", "paths.data_dir=own")
    alone.communicate()
    runs = [Command(tmp_path, *command, f"paths.output_dir={name}") for name in "abcd"]
    for process in runs[:2]:
        time.sleep(draw.uniform(0.05, 0.5))
        process.send_signal(signal.SIGKILL)
    ends = [process.communicate() for process in runs]
    again = [Command(tmp_path, *command, f"paths.output_dir={name}2") for name in "ab"]
    ends = ends[2:] + [process.communicate() for process in again]
    processes = [*runs[2:], *again]
    wrong = sum(
        process.returncode != 0
        or results_of(tmp_path / name)["accuracy"] != results_of(tmp_path / "alone")["accuracy"]
        for process, name in zip(processes, ("c", "d", "a2", "b2"), strict=True)
    )
    tally("cache", 4, wrong)
    assert not wrong, ends
    left = [name for name in leftovers(tmp_path / "data") if not name.endswith(".tmp")]
    assert not left  # half-written ones go an hour later: their process may be on another machine
    assert len(list((tmp_path / "data" / ".cache").glob("*.json"))) == 1


@pytest.mark.parametrize("kind", ["run", "sweep"])
def test_two_in_one_folder(kind: str, tmp_path: Path, tally: Tally) -> None:
    more = ["-m", "seed=1,2"] if kind == "sweep" else ["resume=auto"]
    command = [*more, *FAST, "strategy=finetune", "epochs=60", "paths.output_dir=out"]
    first = Command(tmp_path, *command)
    while not (tmp_path / "out").exists() or not any((tmp_path / "out").iterdir()):
        assert first.poll() is None
        time.sleep(0.02)
    for _ in range(5):
        second = Command(tmp_path, *command)
        _, errors = second.communicate()
        if first.poll() is not None:
            break
        right = second.returncode == 2 and f"process {first.pid} on " in errors
        tally("folder", 1, not right)
        assert right, errors
    first.send_signal(signal.SIGKILL)
    first.communicate()
