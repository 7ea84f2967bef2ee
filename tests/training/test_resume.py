"""A run that is killed and resumed ends as one that was not."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong.comparison.begun import expected
from lifelong.storage.checkpoint import latest
from tests.conftest import state_of
from tests.processes import Command
from tests.test_contract import FAST, assert_resumes, stopped_everywhere

OPTIONS = {
    "lasem": ["strategy=lasem_hps", "epochs=4", "checkpoint_every=1"],
    "release": ["strategy=lasem_hps", "strategy.em=release", "epochs=4", "checkpoint_every=3"],
    "hps": ["strategy=hps", "transfer=top2", "epochs=10", "checkpoint_every=2"],
    "finetune": ["strategy=finetune", "optimizer=adam", "epochs=8", "checkpoint_every=0"],
}
SHORT = ["data=digits", "batch_size=32", "tasks=3", "trainer=cpu"]


def start(folder: Path, name: str) -> Command:
    where = ["resume=auto", f"paths.output_dir={folder}"]
    return Command(folder.parent, *OPTIONS[name], *SHORT, *where)


def finish(process: Command) -> None:
    _, errors = process.communicate()
    assert process.returncode == 0, errors


def outcome(folder: Path) -> dict[str, Any]:
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    assert results["status"] == "finished"
    for key in ("seconds", "seal", "config_checksum", "peak_memory"):
        del results[key]
    return results


def assert_same_checkpoints(one: Path, other: Path) -> None:
    files = ["visit_02.ckpt", "visit_03.ckpt"]
    for folder in (one, other):
        assert sorted(path.name for path in folder.glob("*.ckpt")) == files
    for file in files:
        states = [torch.load(folder / file, weights_only=True) for folder in (one, other)]
        first, second = (state["strategy"] for state in states)
        assert first.keys() == second.keys()
        for key, value in first.items():
            if torch.is_tensor(value):
                assert torch.equal(value, second[key]), key
            else:
                assert value == second[key], key


def killed_and_resumed(tmp_path: Path, name: str, kills: int) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finish(start(whole, name))
    chance = random.Random(name)
    done = 0
    for _ in range(kills):
        process = start(broken, name)
        before = stamps(broken)
        while process.poll() is None and stamps(broken) == before:
            time.sleep(0.005)  # up to a checkpoint of its own, then a random moment more
        time.sleep(chance.uniform(0, 0.25))
        done += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finish(start(broken, name))
    assert done >= 2
    assert outcome(whole) == outcome(broken)
    assert (whole / "accuracy.csv").read_text() == (broken / "accuracy.csv").read_text()
    assert_same_checkpoints(whole, broken)


def stamps(folder: Path) -> list[tuple[str, int]]:
    """Names and times of the checkpoints, which come and go meanwhile."""
    found = []
    for path in sorted(folder.glob("*.ckpt")):
        with contextlib.suppress(FileNotFoundError):
            found.append((path.name, path.stat().st_mtime_ns))
    return found


@pytest.mark.parametrize("name", ["lasem", "finetune"])
def test_killed_and_resumed(tmp_path: Path, name: str) -> None:
    killed_and_resumed(tmp_path, name, kills=3)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(OPTIONS))
def test_killed_ten_times(tmp_path: Path, name: str) -> None:
    killed_and_resumed(tmp_path, name, kills=10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_says_how_to_go_on(tmp_path: Path, number: signal.Signals) -> None:
    folder = tmp_path / "run"
    process = start(folder, "lasem")
    while process.poll() is None and not (folder / "partial.ckpt").exists():
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "Traceback" not in errors
    log = (folder / "train.log").read_text().replace("\n", "")
    assert f"resume=auto paths.output_dir={folder}" in log
    finish(start(folder, "lasem"))
    assert outcome(folder)


@pytest.mark.parametrize(("precision", "after"), [("64-true", 2), ("bf16-true", 1)])
def test_weights_of_another_precision_go_on_bit_equal(
    tmp_path: Path, precision: str, after: int
) -> None:
    """What is read into weights of 32 bits on its way is rounded."""
    options = [*FAST, "strategy=er", "tasks=2", "epochs=3", "checkpoint_every=2", "lr=0.01"]
    whole = assert_resumes(tmp_path, [*options, f"trainer.precision={precision}"], after)
    weights = state_of(whole)["network.body.0.weight"]
    assert weights.dtype == {"64-true": torch.float64, "bf16-true": torch.bfloat16}[precision]


def test_transforms_of_a_library_go_on_bit_equal(tmp_path: Path) -> None:
    transform = "{_target_: torchvision.transforms.v2.RandomAffine, degrees: 10}"
    options = ["strategy=er", "tasks=2", "epochs=3", "checkpoint_every=2", "augment=library"]
    options += [f"data.train_transform.transforms=[{transform}]", "lr=0.01"]
    assert_resumes(tmp_path, [*FAST, *options], after=2)


def test_a_checkpoint_inside_a_task_has_the_seconds_until_then(tmp_path: Path) -> None:
    """So those of a run that was stopped there count, and say what a whole one takes."""
    options = ["data=digits", "batch_size=32", "tasks=2", "trainer=cpu", "strategy=finetune"]
    whole, stops = stopped_everywhere(tmp_path, [*options, "epochs=3", "checkpoint_every=1"])
    saved = [latest(folder)[0] for folder in stops]
    spent = [one.record["seconds"]["train"] for one in saved if one is not None]
    assert len(spent) == len(stops) == 6  # after each epoch but the last of a task, and each task
    assert spent[0] > 0
    assert spent == sorted(set(spent))
    total = json.loads((whole / "results.json").read_text())["seconds"]["train"]
    assert spent[-1] == pytest.approx(total, abs=1e-3)
    evaluated = [one.record["seconds"]["evaluate"] for one in saved if one is not None]
    assert evaluated[0] > 0
    assert expected(stops[0], 3) == pytest.approx(6 * spent[0])  # an epoch of three, two tasks
    assert expected(stops[4], 3) == pytest.approx(spent[4] * 2 / (1 + 2 / 3))
