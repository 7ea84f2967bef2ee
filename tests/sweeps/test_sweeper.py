"""Searches from the command line's side: what is asked for, refused and told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir

from lifelong.configuration.compose import FOLDER
from tests.processes import fresh
from tests.sweeps.searched import LOG, Fake, Killed, table
from tests.sweeps.test_plan import QUICK


def test_what_it_decides_on_is_an_option_of_every_search() -> None:
    options = ["search=tpe", "search.on=split_mnist", "search.tasks=2", "strategy=er"]
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        config = compose("config", options)
    assert (config.search.on, config.search.tasks) == ("split_mnist", 2)


def test_a_search_may_decide_on_first_tasks_or_on_another_stream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = Fake(tmp_path / "tasks", tasks=1)
    fake.sweep(LOG, "tasks=4", "data=digits", "b=3,4")
    assert all(job["tasks"] == "1" and job["data"] == "digits" for job in fake.asked)
    other = Fake(tmp_path / "on", on="split_mnist")
    other.sweep(LOG, "tasks=4", "data=digits", "b=3,4")
    assert all(job["tasks"] == "4" and job["data"] == "split_mnist" for job in other.asked)
    for options, message in (
        ({"on": "nowhere"}, "search.on=nowhere: there is no such stream"),
        ({"on": "_stream"}, "search.on=_stream: there is no such stream"),
        ({"tasks": 0}, "search.tasks=0: give a number of tasks"),
        ({"tasks": True}, "search.tasks=True: give a number of tasks"),
        ({"on": "cifar100"}, "give another paths.output_dir"),
    ):
        with pytest.raises(SystemExit):
            Fake(tmp_path / "on", **options).sweep(LOG, "tasks=4", "data=digits", "b=3,4")
        assert message in capsys.readouterr().err


def test_a_command_corrected_before_anything_was_run(tmp_path: Path) -> None:
    broken = Fake(tmp_path, sampler="grid", trials=None, killed_after=0)
    with pytest.raises(Killed):
        broken.sweep("lrr=0.1,0.01")
    fake = Fake(tmp_path, sampler="grid", trials=None)
    fake.sweep("lr=0.1,0.01", "~note", "+extra=1")
    assert {tuple(sorted(job)) for job in fake.asked} == {("+extra", "lr", "measure_on", "~note")}
    [unnamed] = fake.config.hydra.overrides.hydra
    assert {"note", "extra", "measure_on"} < set(re.findall(r"[^,\[\]]+", unnamed))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sampler": "annealing"}, "search.sampler=annealing: give grid or random or tpe"),
        ({"sampler": "grid", "trials": 5}, "search.trials=5: a grid tries all its points"),
        ({"trials": 0}, "search.trials=0: give a number of points"),
        ({"at_once": "two"}, "search.at_once=two: give a number"),
        ({"seed": "one"}, "search.seed=one: give a whole number"),
        ({"space": ["b=tag(log,interval(0,1))"]}, "b=tag(log,interval(0,1)): give an interval"),
        ({"sampler": "grid", "trials": None}, "lr: a grid needs its values"),
    ],
)
def test_refusals(tmp_path: Path, capsys: Any, options: dict[str, Any], said: str) -> None:
    with pytest.raises(SystemExit) as left:
        Fake(tmp_path / "new", **options).sweep(LOG)
    assert left.value.code == 2
    assert capsys.readouterr().err.startswith(f"error: {said}")
    assert not (tmp_path / "new").exists()


def test_a_search_from_the_command_line(tmp_path: Path) -> None:
    process = fresh(
        tmp_path, "-m", *QUICK, "strategy=finetune", "search=tpe", "search.trials=2",
        "search.at_once=2", LOG, "seed=1,2", "hydra/launcher=joblib",
        "paths.output_dir=found",
    )  # fmt: skip
    printed, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    folder = tmp_path / "found"
    runs = sorted(path.parent for path in folder.glob("*/results.json"))
    assert len(runs) == 4
    assert all(re.fullmatch(r"lr=[\d.e-]+_seed=[12]", run.name) for run in runs)
    config = yaml.safe_load((runs[0] / "config.yaml").read_text())
    assert config["measure_on"] == "validation"
    assert (folder / "study.journal").exists()
    assert "4 of 4 done" in printed
    assert f"best of 2: lr={table(folder)[0]['lr']}: " in printed
    [line] = [line for line in printed.splitlines() if line.startswith("to measure it: ")]
    assert re.search(r"lifelong run -m .*seed=1,2 lr=", line)
    assert "found" not in line
