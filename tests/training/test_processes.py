"""Runs on several processes: the same numbers as in one, and one folder."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong.training.processes import asked, place
from tests.conftest import configured, execute, results_of, state_of
from tests.test_contract import FAST, STRATEGIES, VARIANTS, chosen

RUN = [*FAST, "tasks=2", "epochs=2", "optimizer=adam", "lr=0.003", "trainer.precision=64-true"]
QUICK = ["agem", "lasem_hps", "finetune optimizer=tag_rmsprop"]
REFUSE = ("channel_gated",)


def options_of(strategy: str) -> list[str]:
    own = [*RUN, *chosen(strategy)]
    if "optimizer=tag_rmsprop" in own:
        own.remove("optimizer=adam")
    return own + (["heads.dropout=0"] if "heads" in configured(*own) else [])


def computed_by(number: int, jobs: list[tuple[Path, list[str]]], file: Path) -> None:
    """Runs in so many processes, one after the other."""
    file.write_text(json.dumps([(str(folder), options) for folder, options in jobs]))
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    script = Path(__file__).with_name("two_processes.py")
    others = [
        subprocess.Popen(
            [sys.executable, str(script), str(file)],
            env={
                **os.environ, "RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_PORT": str(port),
                "WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1", "LIFELONG_RANK": str(rank),
                "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1",
            },
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(number)
    ]  # fmt: skip
    told = [other.communicate(timeout=600)[0] for other in others]
    assert [other.returncode for other in others] == [0] * number, told[0]


def distance(one: Any, other: Any) -> float:
    """The largest difference of the numbers of two states."""
    if torch.is_tensor(one):
        return float((one.double() - other.double()).abs().max()) if one.numel() else 0.0
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        return max((distance(one[key], other[key]) for key in one), default=0.0)
    return 0.0


def check(folder: Path, strategies: list[str]) -> None:
    jobs = []
    for number, strategy in enumerate(strategies):
        jobs.append((folder / f"two_{number}", [*options_of(strategy), "trainer.devices=2"]))
    computed_by(2, jobs, folder / "jobs.json")
    for number, strategy in enumerate(strategies):
        alone = folder / f"one_{number}"
        assert execute(alone, *options_of(strategy)) == 0
        apart = distance(state_of(alone), state_of(folder / f"two_{number}"))
        assert apart < 1e-6, strategy
        assert results_of(alone)["accuracy"] == results_of(folder / f"two_{number}")["accuracy"]


def test_two_processes_learn_what_one_learns_and_go_on_bit_for_bit(tmp_path: Path) -> None:
    """At last a run is stopped after its first task; it starts its second process by itself."""
    check(tmp_path, QUICK)
    strategy = "finetune optimizer=tag_rmsprop"  # whose history lies in files of its own
    whole, broken = tmp_path / f"two_{QUICK.index(strategy)}", tmp_path / "broken"
    shutil.copytree(whole, broken)
    for file in ("visit_02.ckpt", "results.json", "accuracy.csv"):
        (broken / file).unlink()
    options = [
        *options_of(strategy),
        "trainer.devices=2",
        "resume=auto",
        f"paths.output_dir={broken}",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "lifelong.run", *options], capture_output=True, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path)}, timeout=300,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("report: ") == 1
    assert results_of(whole)["accuracy"] == results_of(broken)["accuracy"]
    assert distance(state_of(whole), state_of(broken)) == 0
    assert not list(tmp_path.glob("lifelong-*"))  # of the second process


@pytest.mark.slow
def test_every_method_learns_in_two_processes_what_it_learns_in_one(tmp_path: Path) -> None:
    every = [name for name in [*STRATEGIES, *VARIANTS] if name.split()[0] not in REFUSE]
    check(tmp_path, [name for name in every if name not in QUICK])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["trainer.devices=0"], "trainer.devices=0: give a whole number"),
        (["trainer.devices=few"], "trainer.devices=few: give a whole number, 1 or more, or auto"),
        (["trainer.num_nodes=2"], "trainer.num_nodes=2: start the processes by torchrun"),
    ],
)
def test_what_cannot_be_started_is_refused(
    tmp_path: Path, capsys: Any, options: list[str], message: str
) -> None:
    assert execute(tmp_path, *options_of("finetune"), *options) == 2
    assert message in capsys.readouterr().err


def test_another_number_of_processes_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert asked(configured(*options_of("finetune"), "trainer.devices=3")) == 3
    assert asked(configured(*options_of("finetune"), "trainer=ddp", "trainer.accelerator=cpu")) == 1
    for name, value in (
        ("RANK", 1), ("LOCAL_RANK", 1), ("WORLD_SIZE", 2), ("LIFELONG_RANK", 1),
        ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", 1234),
    ):  # fmt: skip
        monkeypatch.setenv(name, str(value))
    assert place(2).rank == 1
    with pytest.raises(ValueError, match="2 processes were started, and devices times num_nodes"):
        place(3)
