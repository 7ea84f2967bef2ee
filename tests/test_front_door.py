"""The command line as a user meets it: what is refused, what is left behind, what is printed."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from tests import wandb_file
from tests.data.sources.test_cifar import official
from tests.processes import ROOT, fresh

Command = Callable[..., subprocess.CompletedProcess[str]]
QUICK = ["data=digits", "tasks=2", "epochs=2", "batch_size=32", "trainer=cpu"]


def prepare(folder: Path) -> None:
    """Files that refusals need."""
    with zipfile.ZipFile(folder / "no_images.zip", "w") as archive:
        archive.writestr("readme.txt", "no images")
    (folder / "broken").mkdir()
    (folder / "broken" / "cifar-100-python.tar.gz").write_bytes(b"no archive")
    (folder / "labels").mkdir()
    official(folder / "labels", labels=range(101))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("strategy=nonsense", r"strategy=nonsense: there is no such member; --help lists all"),
        ("data=nonsense", r"data=nonsense: there is no such member; --help lists all"),
        ("nonsense=1", "nonsense=1: there is no such option; --help lists all"),
        ("strategy.wieght=1", r"strategy\.wieght=1: there is no such option"),
        ("epochs=-1", "epochs=-1: give a whole number, 1 or more"),
        ("batch_size=0", "batch_size=0: give a whole number, 1 or more"),
        ("seed=abc", "seed=abc: give a whole number, 0 or more"),
        ("batch_size=1000", "batch_size=1000: task 1 of digits has only 261 training images"),
        (
            "strategy=hps transfer=pattern transfer.layers=[1,0,1]",
            r"transfer\.layers=\[1, 0, 1\]: give 4 entries",
        ),
        ("strategy=lasem_hps strategy.em=best", r"strategy\.em=best: give paper or release"),
        ("data=folder data.root=nowhere", r"data\.root=nowhere: no such folder or zip file"),
        ("data=folder data.root=no_images.zip", "no_images.zip: holds no images"),
        (
            "data=cifar100 download=false paths.data_dir=missing",
            r"cifar100: no images in paths\.data_dir=missing",
        ),
        ("data=cifar100 paths.data_dir=broken", "not a readable archive"),
        ("data=cifar100 paths.data_dir=labels", "label 100 in .* is outside the class list"),
        ("resume=nowhere", "resume=nowhere: there is no such folder"),
        ("search=tpe", "search=tpe: needs -m"),
        ("trainer.devices=few", r"trainer\.devices=few: give a whole number"),
        ("strategy._target_=nowhere.Method", "No module named 'nowhere'"),
    ],
)
def test_refusals(command: Command, tmp_path: Path, arguments: str, message: str) -> None:
    prepare(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = command(*arguments.split())
    assert done.returncode == (3 if re.search("no images in|no such folder or", message) else 2)
    assert re.search(message, done.stderr), done.stderr
    assert "Traceback" not in done.stderr
    after = [path for path in sorted(tmp_path.rglob("*")) if "cache" not in str(path)]
    assert after == before  # nothing is left behind


def test_help_and_errors_answer_without_torch(tmp_path: Path) -> None:
    (tmp_path / "torch").mkdir()  # hides the real one
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('torch was imported')")
    page, _ = fresh(tmp_path, "--help").communicate(timeout=60)
    assert "strategy=lasem_hps data=cifar100" in page
    _, refusal = fresh(tmp_path, "epochs=-1").communicate(timeout=60)
    assert "epochs=-1" in refusal
    assert "torch" not in refusal


def test_a_run_and_what_it_leaves(command: Command, tmp_path: Path) -> None:
    done = command("strategy=lasem_hps", *QUICK, "paths.output_dir=run", "evaluate=both")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    folder = tmp_path / "run"
    assert {path.name for path in folder.iterdir()} == {
        *("config.yaml", "environment.json", "accuracy.csv", "results.json", "train.log"),
        *("report.html", "figures", "logs", "visit_01.ckpt", "visit_02.ckpt"),
    }
    assert "final accuracy" in done.stdout
    assert "final accuracy" in (folder / "train.log").read_text()
    results = json.loads((folder / "results.json").read_text())
    assert results["strategy"] == "lasem_hps"
    assert results["data"] == "digits"
    assert results["status"] == "finished"
    assert results["accuracy"][0][1] is None
    assert results["images"]["train"] == [261, 261]
    assert results["images"]["origin"] == "scikit-learn"
    for task in ("1", "2"):
        entry = results["method"]["tasks"][task]
        assert set(entry["chosen"]) <= {"0", "1"}
        assert sum(entry["final_prior"]) == pytest.approx(1)
    with (folder / "accuracy.csv").open() as file:
        rows = list(csv.DictReader(file))
    named = {(row["after_visit"], row["task"], row["split"]): row for row in rows}
    assert float(named["2", "1", "test"]["accuracy"]) == results["accuracy"][1][0]
    assert {row["split"] for row in rows} == {
        *("test", "train", "val", "test_at_best_epoch", "test_before_commit", "test_without_task")
    }
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (config["epochs"], config["lr"]) == (2, 0.0005)
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(list((folder / "figures").iterdir())) == 9
    assert "http" not in re.sub(r"base64,[^\"]*", "", page).replace("https://www.cs", "")

    again = command("strategy=lasem_hps", *QUICK, "paths.output_dir=run", "evaluate=both")
    assert again.returncode == 2
    assert "paths.output_dir=run: holds a finished run" in again.stderr
    other = command("strategy=hps", *QUICK, "paths.output_dir=run", "resume=auto")
    assert other.returncode == 2
    assert "has another configuration" in other.stderr
    assert "strategy._target_: was lifelong.strategies.LASEM" in other.stderr
    same = command("resume=run", "strategy=lasem_hps", *QUICK, "evaluate=both")
    assert same.returncode == 0
    assert "finished" in same.stdout


def test_a_sweep_goes_on_after_a_failing_run_and_resumes(command: Command, tmp_path: Path) -> None:
    sweep = ["-m", "strategy=hps", "batch_size=32,5000", *QUICK[:3], "logger=none"]
    sweep.append("paths.output_dir=sweep")
    done = command(*sweep)
    assert done.returncode == 1
    assert "batch_size=5000: task 1" in done.stderr
    assert "1 runs finished, 1 failed" in done.stdout
    finished = sorted(path.parent for path in (tmp_path / "sweep").rglob("results.json"))
    assert [folder.name for folder in finished] == ["batch_size=32"]
    times = [(folder / "results.json").stat().st_mtime_ns for folder in finished]
    again = command(*sweep)
    assert again.returncode == 1
    assert "1 runs finished (1 of them before), 1 failed" in again.stdout
    assert times == [(folder / "results.json").stat().st_mtime_ns for folder in finished]


def test_the_short_experiment_within_its_memory(tmp_path: Path) -> None:
    """LASEM on images of CIFAR-100's size and number a class; peak memory below 2 GiB."""
    (tmp_path / "data").mkdir()
    official(tmp_path / "data", train=20)
    options = [
        "experiment=lasem_short", "strategy=lasem_hps", "epochs=1", "tasks=2", "download=false",
        "trainer=cpu", "paths.output_dir=run",
    ]  # fmt: skip
    process = fresh(tmp_path, *options)
    peak = 0  # KiB; the process's own: what `resource` counts for children begins with the parent's
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = max([peak, *map(int, re.findall(r"VmHWM:\s+(\d+) kB", status))])
        time.sleep(0.1)
    process.communicate()
    assert process.returncode == 0
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["images"]["train"] == [170, 170]
    assert results["images"]["origin"] == "cifar-100-python.tar.gz"
    assert 2**18 < peak < 2**21
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["changed"] == ["epochs=1", "strategy=lasem_hps", "tasks=2"]


def test_a_stop_while_it_starts(tmp_path: Path) -> None:
    process = fresh(tmp_path, *QUICK)
    time.sleep(1.5)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (128 + signal.SIGTERM, -signal.SIGTERM)
    assert "Traceback" not in errors


@pytest.mark.parametrize("name", ["tensorboard", "csv"])
def test_loggers_hold_the_numbers(command: Command, tmp_path: Path, name: str) -> None:
    done = command("strategy=hps", *QUICK, f"logger={name}", "paths.output_dir=run")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    if name == "csv":
        with (tmp_path / "run" / "logs" / "from_visit_01" / "metrics.csv").open() as file:
            rows = list(csv.DictReader(file))
        losses = [(int(row["step"]), row["train/loss"]) for row in rows if row["train/loss"]]
        assert [step for step, _ in losses] == [1, 2, 3, 4]
        final = [
            float(row["metrics/final_accuracy"]) for row in rows if row["metrics/final_accuracy"]
        ]
    else:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
        events.Reload()
        assert [event.step for event in events.Scalars("train/loss")] == [1, 2, 3, 4]
        final = [event.value for event in events.Scalars("metrics/final_accuracy")]
        assert "figures/accuracy_matrix" in events.Tags()["images"]
    assert final[-1] == pytest.approx(results["metrics"]["final_accuracy"], abs=1e-6)


def test_wandb_offline_is_read_back(command: Command, tmp_path: Path) -> None:
    done = command(
        "strategy=lasem_hps", *QUICK, "logger=wandb", "logger.wandb.mode=offline",
        "paths.output_dir=run", "logger.wandb.checkpoints=true",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [path] = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    rows, config = wandb_file.read(path)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    losses = [row for row in rows if "train/loss" in row]
    assert len(losses) == 4
    assert all("lasem/entropy" in row for row in losses)
    final = [row["metrics/final_accuracy"] for row in rows if "metrics/final_accuracy" in row]
    assert final[-1] == pytest.approx(results["metrics"]["final_accuracy"])
    assert config["epochs"] == 2
    told = wandb_file.about(path)
    for name, value in results["metrics"].items():
        assert told["summary"][name] == pytest.approx(value)
    assert told["summary"]["parameters"] == results["parameters"]
    assert told["steps"]["accuracy/*"] == told["steps"]["metrics/*"] == "visit"
    assert {row["visit"] for row in rows if "accuracy/task_01" in row} == {1, 2}
    assert told["artifacts"] == {"model", "run_table"}
    assert {"strategy:lasem_hps", "data:digits"} <= told["tags"]
    drawn = {name.split("/")[1] for row in rows for name in row if name.startswith("figures/")}
    assert {"accuracy_matrix", "configuration_prior", "chosen_layers"} <= drawn


def test_a_sweep_has_a_wandb_run_for_each_of_its_runs(command: Command, tmp_path: Path) -> None:
    done = command(
        "-m", "strategy=hps", "seed=1,2", *QUICK, "logger=wandb", "logger.wandb.mode=offline",
        "paths.output_dir=sweep",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    paths = sorted((tmp_path / "sweep").glob("*/wandb/offline-run-*/run-*.wandb"))
    assert len(paths) == 2
    seeds, groups = [], set()
    for path in paths:
        rows, config = wandb_file.read(path)
        assert len([row for row in rows if "train/loss" in row]) == 4
        seeds.append(config["seed"])
        told = wandb_file.about(path)
        assert told["name"] == f"seed={config['seed']}"
        groups.add(told["group"])
    assert sorted(seeds) == [1, 2]
    (group,) = groups
    assert re.fullmatch(r"hps_digits_[0-9a-f]{8}", group)


def test_a_method_of_ones_own_in_one_file(command: Command, tmp_path: Path) -> None:
    """The worked example of the page."""
    text = (ROOT / "docs" / "own_method.md").read_text()
    [code] = re.findall(r"```python\n(# my_method\.py\n.*?)```", text, re.DOTALL)
    (tmp_path / "my_method.py").write_text(code)
    done = command(
        *QUICK, "strategy=finetune", "strategy._target_=my_method.Anchored", "+strategy.weight=0.5",
        "name=anchored", "heads=multi", "paths.output_dir=run",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["strategy"] == "anchored"
    wrong = command(
        *QUICK, "strategy=finetune", "strategy._target_=my_method.Anchored", "+strategy.weight=abc"
    )
    assert wrong.returncode == 2
    assert "strategy.weight=abc: give a number" in wrong.stderr
