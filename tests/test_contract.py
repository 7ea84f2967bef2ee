"""What every method must do, over every file in conf/strategy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate

from lifelong import load_run
from lifelong.configuration.compose import FOLDER
from lifelong.data import Images, TaskStream, Visit
from lifelong.storage.checkpoint import Checkpoint
from lifelong.strategies import Strategy
from lifelong.training import assembly
from tests.conftest import configured, execute, results_of, state_of

OTHER_NAMES = ("sharing", "lasem", "darts", "brute_force")  # of hps, lasem_hps and so on
FILES = sorted({path.stem for path in (FOLDER / "strategy").glob("*.yaml")} - {*OTHER_NAMES})
STRATEGIES = [name for name in FILES if name != "retrain"]  # of another run: test_tickets_bu.py
QUICK = ["data=digits", "tasks=3", "batch_size=32", "logger=none", "trainer=cpu"]
ADAM = ["optimizer=adam", "lr=0.003"]
FAST = [*QUICK, "data.fraction=0.3"]  # where it need not learn much

VARIANTS = [  # whose course is another than that of the file's defaults
    "apd strategy.variant=full strategy.cluster_every=2 strategy.cluster_range=0.1",
    "channel_gated strategy.variant=paper strategy.sparsity_from=6 strategy.fix_above=0.3 "
    "backbone.channels=[48,48,64,64]",
    "darts_hps strategy.order=2 strategy.arch_data=valid",
    "den strategy.expand_above=9 strategy.l2=0.001 strategy.drift=0.05",
    "den strategy.grow=4 strategy.l1=0.0003 strategy.split_above=0.02",
    "lasem_hps strategy.narrowing.below=0.01",
    "mas strategy.importance.scope=local strategy.penalty=proximal strategy.accumulate=ema "
    "strategy.halve_below=0.9",
]
VIT = "backbone=timm backbone.name=test_vit backbone.options={patch_size:4,global_pool:''}"
SMALLER = {  # fewer configurations, exemplars or rounds than by default
    "brute_force_hps": "transfer.groups=[2,2]",
    "brute_force_tf": "transfer.groups=[2,2]",
    "brute_force_dfcnn": "transfer.groups=[2,2]",
    "lasem_group_hps": "backbone=conv_small transfer.groups=[2,2]",
    "mtl": "data.repeat=1",  # see test_execute.py
    "channel_gated": "fidelity=authors",  # the paper's form is among the variants
    "si": "strategy.strength=10",  # of 300 it learns slowly here
    "cil": "strategy.memory=10",
    "agem_r": "strategy.memory=60",
    "gem": "strategy.per_class=4",
    "gdumb": "strategy.memory=120",
    "icarl": "strategy.memory=60",
    "l2p": VIT,
    "dualprompt": VIT,
    "coda": VIT,
    "packnet": "strategy.retrain_epochs=3",
    "ranpac": "strategy.projections=30",
    "tickets_td": "strategy.memory=10 strategy.round_epochs=1 unlabeled=exemplars batch_size=64",
    "tickets_bu": "strategy.memory=10 strategy.round_epochs=1 strategy.most_rounds=2 "
    "strategy.prune_fraction=0.3 batch_size=64",
}
EPOCHS = {
    "tickets_bu": 6,
    "tickets_td": 6,
    "den": 7,
    "l2p": 6,
    "dualprompt": 6,
    "coda": 6,
}  # others: 12
FORGETS = ("finetune",)
ON_ALL_IMAGES = (  # to learn enough
    "channel_gated", "den", "dfcnn", "frozen_body", "mas", "si", "tickets_bu", "tickets_td",
)  # fmt: skip

# Searches over other kinds of sharing: the classes of their hps form, with other layers.
OF_A_KIND = [
    f"{name}_{kind}" for name in ("brute_force", "darts", "lasem") for kind in ("tf", "dfcnn")
]

# What a method that builds on another goes through as well: tickets_td is cil and more, and agem_r
# is agem with the memory of er.
LONG = [name for name in STRATEGIES if name not in ("cil", "agem_r")]

# Where the kind of sharing does nothing else: checkpoints of tf and dfcnn are those of their kind.
WAYS = [name for name in LONG if name not in OF_A_KIND] + VARIANTS
each_way = pytest.mark.parametrize("strategy", WAYS)
DRAWN = (  # with figures of its own, and one without
    "ewc", "lasem_hps", "darts_hps", "brute_force_hps", "tickets_td", "tickets_bu", "er",
)  # fmt: skip


def _learner(way: str) -> Any:
    marks = [pytest.mark.slow] if way in VARIANTS else []
    return pytest.param(way, marks=[*marks, *([pytest.mark.page] if way in DRAWN else [])])


each_learner = pytest.mark.parametrize(
    "strategy", [*map(_learner, WAYS), "lasem_tf", "lasem_dfcnn"]
)
# Where neither a variant nor a kind of sharing does anything else.
each_file = pytest.mark.parametrize("strategy", [s for s in STRATEGIES if s not in OF_A_KIND])


def chosen(strategy: str) -> list[str]:
    """The options of a strategy or variant."""
    return [
        f"strategy={strategy.split()[0]}",
        *strategy.split()[1:],
        *SMALLER.get(strategy, "").split(),
    ]


@each_learner
def test_learns_and_goes_on_with_a_task_met_before(tmp_path: Path, strategy: str) -> None:
    epochs = f"epochs={EPOCHS.get(strategy.split()[0], 12)}"
    options = [*QUICK, "data.order=[1,2,3,1]", epochs, *ADAM, *chosen(strategy), "tasks=4"]
    if strategy.split()[0] not in ON_ALL_IMAGES:
        options += ["data.fraction=0.6"]
    assert execute(tmp_path, *options) == 0
    report = tmp_path / "report.html"
    assert report.exists() == (strategy in DRAWN)
    assert not report.exists() or "Not finished" not in report.read_text()
    results = results_of(tmp_path)
    assert results["visits"] == [1, 2, 3, 1]
    assert len(results["tasks"]) == 3
    measured = [row for row in results["accuracy"] if row[-1] is not None]
    learned, back = measured[0], measured[-1]  # of a method that learns at the end, the same
    assert learned[-1] > 0.9
    assert back[0] > 0.9
    assert results["status"] == "finished"
    assert results["parameters"] > 0
    if strategy not in FORGETS:
        assert sum(learned) / 3 > 0.8


class Killed(BaseException):
    """Stands for the end of the process."""


def die_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The process ends right after the checkpoint of that number."""
    save, saved = Checkpoint.save, []

    def save_and_die(self: Checkpoint, folder: Path, keep: str) -> None:
        save(self, folder, keep)
        saved.append(self)
        if len(saved) == number:
            raise Killed

    monkeypatch.setattr(Checkpoint, "save", save_and_die)


def stopped_everywhere(folder: Path, options: list[str]) -> tuple[Path, list[Path]]:
    """A whole run, and what a kill after each of its checkpoints would leave."""
    whole, stops = folder / "whole", list[Path]()
    save = Checkpoint.save

    def save_and_copy(self: Checkpoint, place: Path, keep: str) -> None:
        save(self, place, keep)
        stops.append(folder / f"after_{len(stops) + 1}")
        shutil.copytree(place, stops[-1])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "save", save_and_copy)
        assert execute(whole, *options) == 0
    return whole, stops


@each_way
def test_resumes_bit_equal(tmp_path: Path, strategy: str) -> None:
    """Killed just before the end of a task that was met before; and in the first task, at its end,
    or in the middle, in turn over the ways."""
    options = [*FAST, "data.order=[1,2,3,1]", "tasks=4", "epochs=3", "checkpoint_every=2"]
    options += ["resume=auto", *chosen(strategy)]
    whole, stops = stopped_everywhere(tmp_path, options)
    count = len(stops)
    early = [1, 2, (count + 1) // 2][WAYS.index(strategy) % 3]
    for after in sorted({early, count - 1} & set(range(1, count))):
        broken = stops[after - 1]
        assert execute(broken, *options) == 0
        assert results_of(whole) == results_of(broken), after
        states = [
            torch.load(folder / "visit_04.ckpt", weights_only=True)["strategy"]
            for folder in (whole, broken)
        ]
        assert states[0].keys() == states[1].keys()
        for key, value in states[0].items():
            assert alike(value, states[1][key]), (after, key)


def alike(one: Any, other: Any) -> bool:
    """Whether two values of a checkpoint are the same, bit for bit."""
    if torch.is_tensor(one):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    return bool(one == other)


def assert_resumes(folder: Path, options: list[str], after: int) -> Path:
    """A run that ends after a checkpoint and goes on is that of one piece, whose folder is given.

    Args:
        folder: for both.
        options: of the run.
        after: number of the checkpoint.
    """
    whole, broken = folder / "whole", folder / "broken"
    given = [*options, "resume=auto"]
    assert execute(whole, *given) == 0
    with pytest.MonkeyPatch.context() as patch:
        die_at(patch, after)
        with pytest.raises(Killed):
            execute(broken, *given)
    assert execute(broken, *given) == 0
    assert results_of(whole) == results_of(broken)
    assert alike(state_of(whole), state_of(broken))
    return whole


def blindfold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Methods are handed noise in place of what is not theirs to see.

    That is the test images of every task, and of the tasks that are shown to them before the first
    one, to refuse what they cannot learn, all images.
    """

    def noise(images: Images) -> Images:
        other = images.part(torch.arange(len(images)))
        other.x = torch.randn(other.x.shape).to(other.x.dtype)
        return other

    def served(self: TaskStream) -> Iterator[Visit]:
        for visit in self.visits:
            yield replace(visit, task=replace(visit.task, test=noise(visit.task.test)))

    def refuse(strategy: Strategy, stream: TaskStream, config: Any) -> None:
        check = strategy.check
        parts = "train", "val", "test"
        strategy.check = lambda tasks: check(  # type: ignore[method-assign]
            [replace(task, **{p: noise(getattr(task, p)) for p in parts}) for task in tasks]
        )
        _refuse(strategy, stream, config)
        del strategy.check

    _refuse = assembly.refuse
    monkeypatch.setattr(TaskStream, "__iter__", served)
    monkeypatch.setattr(assembly, "refuse", refuse)


@each_file
def test_the_same_seed_gives_the_same_results_whatever_is_logged_and_kept(
    tmp_path: Path, strategy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And when there is nothing to see of test images and of tasks to come."""
    options = [*FAST, "tasks=2", "epochs=2", *chosen(strategy)]
    assert execute(tmp_path / "one", *options) == 0
    more = ["logger=csv", "checkpoint_every=1", "keep=all"]
    with monkeypatch.context() as patch:
        blindfold(patch)
        assert execute(tmp_path / "two", *options, *more) == 0
    results = results_of(tmp_path / "one")
    assert results == results_of(tmp_path / "two")
    loaded = load_run(tmp_path / "one")  # answers as the run did
    for task in instantiate(loaded.config.data, _convert_="all").tasks:
        if results["evaluate"] == "class":
            numbers = torch.tensor(task.classes)[task.test.y]
            right = loaded.predict_class(task.test.x, task.index) == numbers
        else:
            right = loaded.predict(task.test.x, task.index) == task.test.y
        assert float(right.double().mean()) == pytest.approx(results["accuracy"][-1][task.index])


LOOKS = """
from lifelong import Round, Strategy
class TestImages(Strategy):
    def rounds(self, visit):
        yield Round(train=visit.task.test)
class TasksToCome(Strategy):
    def check(self, tasks):
        self.known = tasks
    def rounds(self, visit):
        yield Round(train=self.known[visit.task.index].train)
"""


@pytest.mark.parametrize("name", ["TestImages", "TasksToCome"])
def test_a_method_that_looks_is_found(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "looks.py").write_text(LOOKS)
    monkeypatch.syspath_prepend(tmp_path)
    options = ["strategy=finetune", f"strategy._target_=looks.{name}", *FAST, "epochs=6", *ADAM]
    assert execute(tmp_path / "one", *options) == 0
    blindfold(monkeypatch)
    assert execute(tmp_path / "two", *options) == 0
    assert results_of(tmp_path / "one")["accuracy"] != results_of(tmp_path / "two")["accuracy"]


@each_file
def test_refuses_an_unknown_option_and_a_wrong_type(
    tmp_path: Path, strategy: str, capsys: Any
) -> None:
    assert execute(tmp_path, *chosen(strategy), *FAST, "+strategy.nonsense=1") == 2
    assert "nonsense" in capsys.readouterr().err
    keys = [
        key for key, value in configured(*chosen(strategy)).strategy.items()
        if isinstance(value, float)
    ]  # fmt: skip
    for key in keys:
        assert execute(tmp_path, *chosen(strategy), *FAST, f"strategy.{key}=abc") == 2
        assert f"strategy.{key}=abc: give a number" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@each_file
def test_both_readings_of_accuracy(tmp_path: Path, strategy: str) -> None:
    options = [
        *chosen(strategy),
        *(["heads=multi"] if strategy != "icarl" else []),  # which has one output a class
        *FAST,
        "tasks=2",
        "epochs=4",
        "evaluate=both",
    ]
    assert execute(tmp_path, *options) == 0
    results = results_of(tmp_path)
    given, open_ = results["accuracy"][-1], results["accuracy_class"][-1]
    assert all(a >= b for a, b in zip(given, open_, strict=True))
    assert min(open_) < min(given)


MATRIX = "multi_head=lifelong.networks.OutputMatrix +heads.outputs=10"  # what EWC's authors need


@pytest.mark.parametrize("strategy", [*WAYS, f"ewc fidelity=authors {MATRIX}"])
def test_runs_in_double_precision_and_in_bf16(tmp_path: Path, strategy: str) -> None:
    options = [*chosen(strategy), *QUICK, "data.fraction=0.2", "tasks=2", "epochs=2"]
    assert execute(tmp_path / "64", *options, "trainer.precision=64-true") == 0
    assert execute(tmp_path / "bf16", *options, "trainer.precision=bf16-mixed") == 0
