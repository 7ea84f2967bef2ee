"""Searches: what is a point, what is asked for, what comes of a study that was interrupted."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from lifelong.configuration.complete import complete
from lifelong.configuration.compose import FOLDER, register
from lifelong.sweeps.plan import plan
from lifelong.sweeps.space import space_of
from lifelong.sweeps.study import overrides_of
from lifelong.sweeps.sweeper import run_search
from tests.processes import fresh
from tests.sweeps.test_plan import QUICK

UNITS = "units=int(tag(log,interval(1,8)))"
LOG = "lr=tag(log,interval(1e-4,1e-1))"


def parsed(*texts: str) -> list[Any]:
    return OverridesParser.create().parse_overrides(list(texts))


def bowl(overrides: dict[str, str]) -> float:
    """A value with its highest, 1, at lr=0.01 and b=3."""
    far = abs(math.log10(float(overrides["lr"])) + 2) + abs(int(overrides.get("b", 3)) - 3)
    return 1 - far / 10


class Killed(Exception):
    """Stands for a process that ends without a word."""


class Fake:
    """In place of Hydra's sweeper and launcher: values by a formula; may fail or be killed."""

    def __init__(
        self,
        folder: Path,
        value: Callable[[dict[str, str]], float] = bowl,
        killed_after: int = 10**9,
        fails: Callable[[dict[str, str]], bool] = lambda overrides: False,
        **options: Any,
    ) -> None:
        given = {"sampler": "tpe", "trials": 6, "at_once": None, "seed": 1, "space": []} | options
        self.config = OmegaConf.create(
            {"search": given, "hydra": {"sweep": {"dir": str(folder)}, "overrides": {"hydra": []}}}
        )
        self.hydra_context = SimpleNamespace(config_loader=None)
        self.launcher = self
        self.value, self.left, self.fails = value, killed_after, fails
        self.batches: list[list[dict[str, str]]] = []

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        assert all(isinstance(text, str) for job in batch for text in job)

    def launch(self, batch: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        assert initial_job_idx == sum(map(len, self.batches))
        asked = [dict(text.partition("=")[::2] for text in job) for job in batch]
        self.batches.append(asked)
        return [self.run(overrides) for overrides in asked]

    def run(self, overrides: dict[str, str]) -> JobReturn:
        self.left -= 1
        if self.left < 0:
            raise Killed
        if self.fails(overrides):
            return JobReturn(status=JobStatus.FAILED, _return_value=ValueError("diverged"))
        return JobReturn(status=JobStatus.COMPLETED, _return_value=self.value(overrides))

    def sweep(self, *arguments: str) -> None:
        run_search(self, arguments)  # type: ignore[arg-type]

    @property
    def asked(self) -> list[dict[str, str]]:
        return [job for batch in self.batches for job in batch]


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "search.csv").read_text().splitlines()))


def test_overrides_taken_apart() -> None:
    given = ["lr=0.1,0.01", "data.validation=0.1", "lr=0.5,0.2,0.1", "seed=1,2", "search=tpe"]
    space = space_of(parsed(*given, "depth=range(1,7,2)", "rate=interval(0,1)", UNITS), False)
    assert space.options["lr"].choices == ("0.5", "0.2", "0.1")  # type: ignore[attr-defined]
    assert space.fixed == ["data.validation=0.1", "measure_on=validation"]
    assert space.runs == [["seed=1"], ["seed=2"]]
    told = {key: str(of) for key, of in space.options.items()}
    assert told["depth"] == "IntDistribution(high=5, log=False, low=1, step=2)"
    assert told["rate"] == "FloatDistribution(high=1.0, log=False, low=0.0, step=None)"
    assert told["units"] == "IntDistribution(high=8, log=True, low=1, step=1)"
    with pytest.raises(ValueError, match="depth: a grid needs its values"):
        space.grid()
    grid = space_of(parsed("lr=0.1,0.01", "depth=range(1,7,2)"), True).grid()
    assert len(grid) == 6
    assert grid[1] == {"lr": "0.1", "depth": "3"}
    for wrong, said in (
        (["lr=0.1", "seed=1,2"], "nothing to search"),
        (["lr=0.1,0.2", "measure_on=test"], "validation images alone"),
        (
            ["lr=0.1,0.2", "measure_on=test,validation"],
            "measure_on=test,validation: is not searched",
        ),
        (["lr=0.1,0.2", "data=digits,cifar100"], "data=digits,cifar100: is not searched"),
        (["lr=0.1,0.2", "search=tpe,random"], "search=tpe,random: is not searched"),
        (["lr=0.1,0.2", "search.trials=2,3"], "search.trials=2,3: is not searched"),
        (["lr=0.1,0.2", "seed=interval(1,3)"], r"seed=interval\(1,3\): give its values"),
        (["lr=range(5,1)"], r"lr=range\(5,1\): has no values"),
    ):
        with pytest.raises(ValueError, match=said):
            space_of(parsed(*wrong), False)


def test_a_grid_is_run_at_once_over_all_seeds(tmp_path: Path, capsys: Any) -> None:
    fake = Fake(tmp_path, lambda o: bowl(o) - int(o["seed"]) / 100, sampler="grid", trials=None)
    fake.sweep("lr=0.1,0.01", "b=1,3", "seed=1,2,3", "data=digits")
    (batch,) = fake.batches
    assert len(batch) == 12
    assert all(job["measure_on"] == "validation" for job in batch)
    assert all(job["data"] == "digits" for job in batch)
    rows = table(tmp_path)
    assert (rows[0]["lr"], rows[0]["b"], rows[0]["n"]) == ("0.01", "3", "3")
    assert float(rows[0]["accuracy"]) == pytest.approx(0.98)  # mean of 0.99, 0.98, 0.97
    assert float(rows[0]["deviation"]) == pytest.approx(0.01)
    assert [row["accuracy"] for row in rows] == sorted((r["accuracy"] for r in rows), reverse=True)
    again = Fake(tmp_path, sampler="grid", trials=None)
    again.sweep("seed=1,2,3", "data=digits", "b=1,3", "lr=0.1,0.01", "keep=all")
    assert again.batches == []
    for other, said in (
        (["lr=0.1,0.01,0.001", "seed=1,2,3"], "has lr=0.1,0.01, this command lr=0.1,0.01,0.001;"),
        (["lr=0.1,0.01", "seed=1,2"], "has seed=1,2,3, this command seed=1,2;"),
        (["lr=0.1,0.01", "seed=1,2,3", "tasks=2"], "has no more, this command tasks=2;"),
    ):
        with pytest.raises(SystemExit) as left:
            Fake(tmp_path, sampler="grid", trials=None).sweep("b=1,3", "data=digits", *other)
        assert left.value.code == 2
        assert said in capsys.readouterr().err


def test_a_search_finds_what_is_best(tmp_path: Path) -> None:
    fake = Fake(tmp_path, trials=40)
    fake.sweep(LOG, "b=1,2,3,4,5")
    best = table(tmp_path)[0]
    assert best["b"] == "3"
    assert 10**-2.3 < float(best["lr"]) < 10**-1.7
    assert len(table(tmp_path)) == len(fake.batches) == 40
    rates = [float(job["lr"]) for job in fake.asked]
    near = [abs(math.log10(rate) + 2) for rate in rates]
    assert sum(near[20:]) < sum(near[:20])  # it learns from what it saw


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


@pytest.mark.parametrize(("at_once", "killed"), [(1, 4), (3, 4), (3, 7), (1, 0)])
def test_a_killed_search_goes_on_as_it_would_have(
    tmp_path: Path, at_once: int, killed: int
) -> None:
    whole = Fake(tmp_path / "whole", trials=12, at_once=at_once)
    whole.sweep(LOG, "b=1,2,3", "seed=1,2")
    part = Fake(tmp_path / "part", trials=12, at_once=at_once, killed_after=killed)
    with pytest.raises(Killed):
        part.sweep(LOG, "b=1,2,3", "seed=1,2")
    rest = Fake(tmp_path / "part", trials=12, at_once=at_once)
    rest.sweep(LOG, "b=1,2,3", "seed=1,2")
    assert table(tmp_path / "whole") == table(tmp_path / "part")
    assert part.batches[-1] == rest.batches[0]  # what was interrupted comes first
    assert [*part.batches[:-1], *rest.batches] == whole.batches


def test_failed_points_do_not_stop_a_search_and_are_tried_again(tmp_path: Path) -> None:
    options: dict[str, Any] = {"sampler": "grid", "trials": None}
    broken = Fake(tmp_path, fails=lambda o: o["lr"] == "0.1" and o["seed"] == "2", **options)
    with pytest.raises(ValueError, match="diverged"):
        broken.sweep("lr=0.1,0.01,0.001", "seed=1,2")
    assert [row["lr"] for row in table(tmp_path)] == ["0.01", "0.001"]
    again = Fake(tmp_path, **options)
    again.sweep("lr=0.1,0.01,0.001", "seed=1,2")
    assert [(job["lr"], job["seed"]) for job in again.asked] == [("0.1", "1"), ("0.1", "2")]
    assert len(table(tmp_path)) == 3


def test_points_are_tried_once(tmp_path: Path) -> None:
    fake = Fake(tmp_path, sampler="random", trials=50, at_once=2)
    fake.sweep("lr=0.1,0.01,0.1", "depth=range(1,4)", "seed=shuffle(1,2,1)")
    points = [(job["lr"], job["depth"], job["seed"]) for job in fake.asked]
    assert len(set(points)) == len(points) == 12  # all there are
    again = Fake(tmp_path, sampler="random", trials=50, at_once=2)
    again.sweep("lr=0.1,0.01,0.1", "depth=range(1,4)", "seed=shuffle(1,2,1)")
    assert again.batches == []


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_failing_point_is_not_proposed_again(tmp_path: Path, sampler: str) -> None:
    fake = Fake(tmp_path, sampler=sampler, trials=8, fails=lambda o: float(o["lr"]) > 0.01)
    with pytest.raises(ValueError, match="diverged"):
        fake.sweep(LOG)
    rates = {job["lr"] for job in fake.asked}
    assert len(rates) == len(fake.asked) == 8
    assert 0 < len(table(tmp_path)) < 8


def test_a_command_corrected_before_anything_was_run(tmp_path: Path) -> None:
    broken = Fake(tmp_path, sampler="grid", trials=None, killed_after=0)
    with pytest.raises(Killed):
        broken.sweep("lrr=0.1,0.01")
    fake = Fake(tmp_path, sampler="grid", trials=None)
    fake.sweep("lr=0.1,0.01", "~note", "+extra=1")
    assert {tuple(sorted(job)) for job in fake.asked} == {("+extra", "lr", "measure_on", "~note")}
    [unnamed] = fake.config.hydra.overrides.hydra
    assert {"note", "extra", "measure_on"} < set(re.findall(r"[^,\[\]]+", unnamed))


def test_ranges_as_values_and_as_ranges_are_two_studies(tmp_path: Path, capsys: Any) -> None:
    Fake(tmp_path, sampler="random", trials=1).sweep("lr=0.1", "b=range(1,4)")
    with pytest.raises(SystemExit):
        Fake(tmp_path, sampler="grid", trials=None).sweep("lr=0.1", "b=range(1,4)")
    assert "has b=range(1,4), this command b=1,2,3" in capsys.readouterr().err


def test_more_points_later(tmp_path: Path) -> None:
    Fake(tmp_path, trials=3, sampler="random").sweep(LOG)
    more = Fake(tmp_path, trials=5, sampler="random")
    more.sweep(LOG)
    assert len(more.batches) == 2
    assert len({row["lr"] for row in table(tmp_path)}) == 5


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


def test_a_search_of_one_name_has_one_folder() -> None:
    made = plan(["search=tpe", LOG, "search.trials=5", "seed=1,2"])
    more = plan(["search=tpe", LOG, "search.trials=50", "seed=1,2"])
    assert made is not None
    assert more is not None
    assert made.folder == more.folder
    assert made.searches
    assert made.total is None
    assert "hydra/sweeper=search" in made.overrides()
    other = plan(["search=random", LOG, "seed=1,2"])
    assert other is not None
    assert other.folder != made.folder


FILES = sorted((FOLDER / "search").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_searches_what_its_command_has(path: Path) -> None:
    """With the command of its second line; each value of each option is one that composes."""
    command = re.search(r"^#   python -m lifelong.run -m (.*)$", path.read_text(), re.MULTILINE)
    if command is None:
        assert yaml.safe_load(path.read_text()).get("space", []) == []
        return
    overrides = [text for text in command[1].split() if not text.startswith("seed=")]
    register()
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        space = compose("config", overrides).search.space
        assert f"search={path.stem}" in overrides
        given = [text for text in overrides if not text.startswith("search=")]
        found = space_of(parsed(*space, *given), True)
        for point in found.grid()[:: max(len(found.grid()) - 1, 1)]:
            made = compose("config", [*found.fixed, *overrides_of(point)])
            complete(made)
            assert made.measure_on == "validation"


def test_the_tag_grids_are_the_papers() -> None:
    sizes = {"sgd": 4, "adagrad": 5, "rmsprop": 7, "adam": 5, "tag_adagrad": 20, "tag_rmsprop": 32}
    sizes |= {"tag_adam": 20, "ewc_tag": 12, "agem": 4, "er": 4, "stable_sgd": 36}
    for name, size in sizes.items():
        space = yaml.safe_load((FOLDER / "search" / f"{name}.yaml").read_text())
        assert len(space_of(parsed(*space["space"]), True).grid()) == size


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
    assert re.search(r"python -m lifelong.run -m .*seed=1,2 lr=", line)
    assert "found" not in line
