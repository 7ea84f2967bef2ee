"""Threads and devices, known before torch is imported, and the first line that tells them."""

import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from lifelong.configuration.complete import complete
from lifelong.training import machine
from tests.conftest import configured, execute
from tests.processes import ROOT


@pytest.mark.parametrize(
    ("overrides", "cores", "limit", "expected"),
    [
        (["data=digits"], 8, None, 1),  # 16 images of 1x8x8
        (["data=split_mnist", "batch_size=10"], 8, None, 1),
        (["data=split_mnist", "batch_size=128"], 8, None, 8),  # 100,352 values
        (["data=cifar100", "batch_size=10"], 8, None, 3),
        (["data=cifar100", "batch_size=64"], 8, None, 8),
        (["data=cifar100", "batch_size=64"], 2, None, 2),
        (["data=cifar100", "batch_size=64"], 8, "1", 1),  # somebody shares out the cores
        (["data=cifar100", "batch_size=64"], 2, "3,1", 3),
        (["data=digits"], 8, "4", 1),
        (["data=digits", "trainer.threads=5"], 8, "4", 5),
    ],
)
def test_threads_that_pay(
    overrides: list[str],
    cores: int,
    limit: str | None,
    expected: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "cores", lambda: cores)
    monkeypatch.delenv(machine.LIMIT, raising=False)
    if limit is not None:
        monkeypatch.setenv(machine.LIMIT, limit)
    config = configured(*overrides)
    complete(config)
    assert machine.threads(config) == expected


@pytest.mark.parametrize("asked", ["0", "-1", "many", "1.5", "true", "null"])
def test_no_number_of_threads(
    asked: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(tmp_path / "run", "data=digits", f"trainer.threads={asked}") == 2
    assert "trainer.threads=" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_threads_of_a_run_are_its_own(tmp_path: Path) -> None:
    """A run goes on with other ones; those of the process are put back."""
    options = ["data=digits", "strategy=finetune", "tasks=1", "epochs=1", "logger=none"]
    before = torch.get_num_threads()
    assert execute(tmp_path / "run", *options, "trainer.threads=2") == 0
    assert torch.get_num_threads() == before
    assert '"threads": 2' in (tmp_path / "run" / "environment.json").read_text()
    assert "2 threads" in (tmp_path / "run" / "train.log").read_text().splitlines()[0]
    assert execute(tmp_path / "run", *options, "trainer.threads=1", "resume=auto") == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert list(results["seconds"]) == ["imports", "setup", "train", "evaluate"]


@pytest.mark.parametrize(
    ("shown", "expected"), [(None, 4), ("", 0), ("-1", 0), ("2", 1), ("0,3", 2), ("GPU-x,GPU-y", 2)]
)
def test_gpus_that_are_shown(
    shown: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        (tmp_path / str(number)).mkdir()
    monkeypatch.setattr(machine, "_DRIVER", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if shown is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    assert machine.gpus() == expected
    assert machine.device(configured("data=digits")) == ("GPU" if expected else "CPU")
    assert machine.device(configured("data=digits", "trainer=cpu")) == "CPU"


def test_a_gpu_that_torch_cannot_use_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if torch.cuda.is_available():
        pytest.skip("it can")
    monkeypatch.setattr(machine, "gpus", lambda: 1)
    options = ["data=digits", "strategy=finetune", "tasks=1", "epochs=1", "logger=none"]
    assert execute(tmp_path / "run", *options) == 0
    assert "note: there is a GPU that PyTorch" in (tmp_path / "run" / "train.log").read_text()


@pytest.mark.parametrize("name", ["gpu", "tpu", "mps", "nope"])
def test_an_accelerator_that_is_not_there(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if name == "gpu" and torch.cuda.is_available():
        pytest.skip("it is there")
    options = ["data=digits", "strategy=finetune", f"trainer.accelerator={name}"]
    assert execute(tmp_path / "run", *options) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: trainer.accelerator={name}: ")
    assert "trainer=auto" in told
    assert told.count("\n") == 1


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's allocator")
@pytest.mark.parametrize("variable", ["", "MALLOC_MMAP_THRESHOLD_"])
def test_memory_that_tensors_left_is_not_cleared_anew(variable: str) -> None:
    code = (
        "import resource, torch; from lifelong.training.machine import keep_freed_memory\n"
        "def faults():\n"
        "    begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "    for _ in range(10): torch.ones(10_000_000)\n"
        "    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun\n"
        "before = faults(); keep_freed_memory(); faults(); print(before, faults())"
    )
    given = {variable: str(2**20)} if variable else {}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **given},
    )  # fmt: skip
    before, after = map(int, done.stdout.split())
    assert (after < before / 10) == (not variable)  # what a user says of it stays


def test_the_first_line_comes_before_torch() -> None:
    """Within a second; here torch cannot even be imported."""
    code = (
        "import sys; sys.modules['torch'] = None; sys.argv = ['run', 'data=digits', 'seed=7',"
        " 'strategy=ewc', 'paths.output_dir=nowhere'];"
        " import time; from lifelong.run import main; begun = time.perf_counter();\n"
        "try: main()\n"
        "finally: print(time.perf_counter() - begun)"
    )
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    first = done.stdout.splitlines()[0]
    assert first == "ewc on digits, seed 7: CPU, 1 thread, in nowhere"
    assert time.perf_counter() - begun < 10  # of a busy machine; idle it takes half a second
    assert not (ROOT / "nowhere").exists()
