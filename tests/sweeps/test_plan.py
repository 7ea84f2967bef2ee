"""Sweeps: where runs go, what is told, several at a time, killed and gone on with."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import compose, initialize_config_dir
from hydra_plugins.lifelong_sweeper import Sweeper
from omegaconf import OmegaConf

from lifelong.comparison import compare
from lifelong.configuration.compose import FOLDER, register
from lifelong.sweeps.plan import plan
from lifelong.sweeps.standing import SweepStatus, sweep_status
from lifelong.sweeps.watch import SweepMonitor
from tests.conftest import results_of
from tests.processes import Command, fresh
from tests.sweeps.searched import LOG

QUICK = ["data=digits", "tasks=2", "epochs=2", "batch_size=32", "data.fraction=0.3", "logger=none"]


def test_plans() -> None:
    made = plan(["strategy=hps,finetune", "seed=1,2,3", "data=digits", "lr=0.1"])
    assert made is not None
    assert (made.total, made.parallel) == (6, False)
    assert made.fixed == ("data", "lr")
    name = "sweep_data=digits_lr=0.1_seed=1_2_3_strategy=hps_finetune"
    assert made.folder == Path("outputs") / name
    again = plan(["lr=0.1", "seed=1,2,3", "data=digits", "strategy=hps,finetune", "keep=all"])
    assert again is not None
    assert again.folder == made.folder  # order and what changes no result do not matter
    given = plan(["paths.output_dir=out/a b", "seed=range(1,5)", "hydra/launcher=joblib"])
    assert given is not None
    assert (given.folder, given.total, given.parallel) == (Path("out/a b"), 4, True)
    assert given.overrides()[0] == 'hydra.sweep.dir="out/a b"'
    assert plan(["seed=1,2", "nonsense=["]) is None  # Hydra says what is wrong
    pattern = plan(["transfer=glob(top*)", "seed=1,2"])
    assert pattern is not None
    assert (pattern.total, pattern.names) == (None, None)
    assert all("transfer=top" in point[0] for point in pattern.points)  # which are looked at
    assert len({point[0] for point in pattern.points}) > 1
    twice = plan(["seed=1,1,2", "lr=1e-3,0.001", "data=digits"])
    assert twice is not None
    assert twice.total == 2  # as Hydra writes them
    assert sorted(twice.names or ())[0] == "lr=0.001_seed=1"
    told = plan(["seed=1,2", "logger=none,csv", "trainer.threads=1,2", "hydra/launcher=joblib"])
    assert told is not None
    assert told.names == {"seed=1", "seed=2"}  # others name no folder
    home = plan(["seed=1,2", "paths.output_dir='${oc.env:HOME}/a'"])
    assert home is not None
    assert home.folder == Path(os.environ["HOME"]) / "a"
    with pytest.raises(ValueError, match=r"lr=interval\(0,1\): an interval needs search=tpe"):
        plan(["lr=interval(0,1)"])
    with pytest.raises(ValueError, match=r"paths.output_dir=a,b: a sweep has one folder"):
        plan(["paths.output_dir=a,b"])


@pytest.mark.parametrize(
    ("arguments", "composed"),
    [
        (["seed=1,2", "strategy=er"], 0),  # each was looked at before
        (["seed=range(0,40)"], 1),  # some were
        (["seed=1,2", "search=grid"], 1),  # a search's points are its own
        (["transfer=glob(top*)"], 0),
    ],
)
def test_runs_that_were_looked_at_are_not_composed_once_more(
    arguments: list[str], composed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, asked = plan(arguments), list[list[str]]()
    monkeypatch.setattr(SweepMonitor, "current", SimpleNamespace(plan=made))
    sweeper = Sweeper(max_batch_size=None)
    loader = SimpleNamespace(
        load_sweep_config=lambda **given: asked.append(given["sweep_overrides"])
    )
    sweeper.hydra_context = SimpleNamespace(config_loader=loader)
    sweeper.config = OmegaConf.create()
    sweeper.validate_batch_is_legal([["seed=1"]])
    assert len(asked) == composed


def test_ends_of_intervals_are_looked_at() -> None:
    made = plan(["search=tpe", "search.trials=3", "lr=tag(log,interval(1e-4,0.1))", "seed=1,2"])
    assert made is not None
    assert (made.searches, made.total) == (True, None)
    assert made.points == tuple(
        (f"lr={end}", f"seed={seed}") for end in (1e-4, 0.1) for seed in (1, 2)
    )


def test_runs_of_other_commands_in_the_folder_are_not_counted() -> None:
    status = SweepStatus({"seed=1": 0.5, "seed=2": 0.6}, {"seed=3": "why"}, {"seed=3": 5}, ["x"])
    assert status.of(None) is status
    assert status.of({"seed=2", "x"}) == SweepStatus({"seed=2": 0.6}, {}, {}, ["x"])
    assert status.of({"seed=3"}) == SweepStatus({}, {"seed=3": "why"}, {"seed=3": 5}, [])


def started(folder: Path, *arguments: str, session: bool = False) -> Command:
    return Command(folder, "-m", *QUICK, *arguments, session=session)


SWEPT = ["strategy=hps,finetune", "seed=1,2"]


def csv_of(folder: Path) -> str:
    assert compare.main([str(folder)]) == 0
    return (folder / "comparison.csv").read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A sweep of four runs, one after the other; its folder and what it printed."""
    folder = tmp_path_factory.mktemp("serial")
    process = started(folder, *SWEPT)
    printed, errors = process.communicate()
    assert process.returncode == 0, errors
    (made,) = (folder / "outputs").iterdir()
    return made, printed


def test_a_sweep_names_its_runs_by_what_differs(whole: tuple[Path, str]) -> None:
    folder, printed = whole
    names = {f"seed={seed}_strategy={name}" for seed in (1, 2) for name in ("hps", "finetune")}
    assert {path.parent.name for path in folder.glob("*/results.json")} == names
    assert "4 of 4 done" in printed
    assert f"lifelong compare {folder.relative_to(folder.parent.parent)}" in printed


def test_the_same_command_again_goes_on(whole: tuple[Path, str]) -> None:
    folder, _ = whole
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("*/results.json")}
    printed, _ = started(folder.parent.parent, *reversed(SWEPT)).communicate()
    assert "4 runs finished (4 of them before)" in printed
    assert stamps == {path: path.stat().st_mtime_ns for path in folder.glob("*/results.json")}


@pytest.mark.slow
def test_several_runs_at_a_time_give_the_same(whole: tuple[Path, str], tmp_path: Path) -> None:
    options = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "paths.output_dir=side"]
    process = fresh(tmp_path, "-m", *QUICK, "strategy=hps", "seed=1,2", *options)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    for seed in (1, 2):
        own = results_of(tmp_path / "side" / f"seed={seed}")
        assert own == results_of(whole[0] / f"seed={seed}_strategy=hps")


@pytest.mark.slow
def test_jobs_of_their_own_give_the_same(whole: tuple[Path, str], tmp_path: Path) -> None:
    options = ["hydra/launcher=submitit_local", "paths.output_dir=side"]
    process = fresh(tmp_path, "-m", *QUICK, "strategy=hps", "seed=2", *options)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert list((tmp_path / "side" / ".submitit").glob("*/*submitted.pkl"))
    (own,) = (tmp_path / "side").glob("*/results.json")
    assert results_of(own.parent) == results_of(whole[0] / "seed=2_strategy=hps")


def test_a_sweep_killed_at_any_time_ends_with_the_same_table(
    whole: tuple[Path, str], tmp_path: Path
) -> None:
    """SIGKILL to all its processes at three moments, in the midst of different runs."""
    where = [*SWEPT, "paths.output_dir=broken", "checkpoint_every=1"]
    folder = tmp_path / "broken"
    for count in (0, 1, 2):
        process = started(tmp_path, *where, session=True)
        begun = time.monotonic()
        while time.monotonic() - begun < 120 and process.poll() is None:
            now = sweep_status(folder)
            if len(now.finished) >= count and now.running:
                break
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    process = started(tmp_path, *where)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert csv_of(folder) == csv_of(whole[0])


def test_the_batch_script_of_a_cluster(tmp_path: Path) -> None:
    """What submitit would hand to sbatch under the composed options."""
    from submitit.slurm.slurm import _make_sbatch_string

    register()
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        config = compose(
            "config",
            ["hydra/launcher=submitit_slurm", "hydra.launcher.partition=gpu",
             "hydra.launcher.timeout_min=600", "hydra.launcher.gpus_per_node=1",
             "hydra.launcher.cpus_per_task=4"],
            return_hydra_config=True,
        )  # fmt: skip
    launcher = config.hydra.launcher
    assert launcher._target_.endswith("SlurmLauncher")
    script = _make_sbatch_string(
        command="python", folder=str(tmp_path), partition=launcher.partition,
        time=launcher.timeout_min, gpus_per_node=launcher.gpus_per_node,
        cpus_per_task=launcher.cpus_per_task, nodes=launcher.nodes,
    )  # fmt: skip
    for line in ("--partition=gpu", "--time=600", "--gpus-per-node=1", "--cpus-per-task=4"):
        assert f"#SBATCH {line}\n" in script


def test_a_search_of_one_name_has_one_folder() -> None:
    made = plan(["search=tpe", LOG, "search.trials=5", "seed=1,2"])
    more = plan(["search=tpe", LOG, "search.trials=50", "seed=1,2"])
    assert made is not None
    assert more is not None
    assert made.folder == more.folder
    assert made.searches
    assert made.total is None
    assert "hydra/sweeper=lifelong" in made.overrides()
    assert not made.looked_at
    other = plan(["search=random", LOG, "seed=1,2"])
    assert other is not None
    assert other.folder != made.folder
