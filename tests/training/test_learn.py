"""Runs from Python: names and objects for members, the same folder, stopped and gone on with."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lifelong
from lifelong.configuration.stored import read_config
from lifelong.data import Batch, Visit
from lifelong.data.sources import digits
from lifelong.networks.given import given as given_stream
from lifelong.networks.given import keep
from tests.conftest import execute, results_of
from tests.processes import ROOT

FAST: dict[str, Any] = {"epochs": 2, "logger": "none", "trainer": "cpu", "checkpoint_every": 1}


class Halved(lifelong.ER):
    """A method of one's own."""

    def __init__(self, *given: Any, share: float = 1.0, **options: Any) -> None:
        super().__init__(*given, **options)
        self.share = share

    def training_loss(self, batch: Batch) -> Tensor:
        return self.share * super().training_loss(batch)


class Plain(lifelong.Strategy):
    """Fine-tuning, under another name."""


class MadeLate(lifelong.Strategy):
    """What a run that goes on would not have."""

    def end_task(self, visit: Visit, loader: Any) -> None:
        super().end_task(visit, loader)
        self.teacher = copy.deepcopy(self.network)


class Grows(lifelong.Strategy):
    """Makes a buffer at the end of each task, and draws from NumPy."""

    stops = False

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        if visit.number == 3 and type(self).stops:
            raise KeyboardInterrupt

    def training_loss(self, batch: Batch) -> Tensor:
        return np.random.rand() * super().training_loss(batch)  # noqa: NPY002

    def end_task(self, visit: Visit, loader: Any) -> None:
        super().end_task(visit, loader)
        self.method["undefined"] = float("nan")
        self.register_buffer(f"old_{visit.number}", torch.full((2,), float(visit.number)))


class Stops(Halved):
    """Stopped from outside in the second visit."""

    stops = True

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        if visit.number == 2 and type(self).stops:
            raise KeyboardInterrupt


def stream(tasks: int = 3, **options: Any) -> lifelong.TaskStream:
    shown = {"shape": [1, 8, 8], "name": "mine", "batch_size": 16}
    return lifelong.by_class(digits(), tasks=tasks, **shown, **options)


def module() -> nn.Module:
    torch.manual_seed(5)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())


def test_a_class_of_ones_own_has_a_head_for_each_task(tmp_path: Path) -> None:
    """As nearly every method, so that both stand in one table."""
    for number, (more, heads) in enumerate((({}, "multi"), ({"heads": "single"}, "single"))):
        options = {"data": "digits", "tasks": 1, **FAST, **more}
        options["paths"] = {"output_dir": tmp_path / str(number)}
        assert lifelong.learn(strategy=Plain, **options).config.choices.heads == heads


def test_several_devices_from_python_are_refused() -> None:
    with pytest.raises(ValueError, match=r"trainer.devices=2: from Python a run is one process"):
        lifelong.learn(strategy="finetune", data="digits", trainer={"devices": 2})


@pytest.mark.page
def test_the_same_run_as_the_command(tmp_path: Path) -> None:
    run = lifelong.learn(
        "strategy.memory=40", strategy="er", data="digits", tasks=2, lr=0.01, **FAST,
        paths={"output_dir": tmp_path / "python"},
    )  # fmt: skip
    given = ["strategy=er", "data=digits", "tasks=2", "epochs=2", "lr=0.01", "strategy.memory=40"]
    assert execute(tmp_path / "command", *given, "logger=none", "trainer=cpu") == 0
    assert run.results["accuracy"] == results_of(tmp_path / "command")["accuracy"]
    assert (tmp_path / "python" / "report.html").exists()
    one, other = (read_config(tmp_path / each / "config.yaml") for each in ("python", "command"))
    assert one.strategy == other.strategy
    assert one.choices.strategy == "er"
    assert "logger" not in one.choices


def test_objects_stand_for_members(tmp_path: Path) -> None:
    given, body = stream(), module()
    before = {name: value.clone() for name, value in body.state_dict().items()}
    run = lifelong.learn(
        "strategy.share=0.5", "strategy.memory=30", data=given, strategy=Halved, backbone=body,
        **FAST, paths={"output_dir": tmp_path / "run"},
    )  # fmt: skip
    assert (run.results["strategy"], run.results["data"]) == ("Halved", "mine")
    assert run.strategy.share == 0.5
    assert run.strategy.memory.size == 30
    assert run.config.batch_size == 16
    assert run.accuracy.shape == (3, 3)
    assert all(torch.equal(value, before[name]) for name, value in body.state_dict().items())
    moved = run.body.state_dict()
    assert any(not torch.equal(moved[f"module.{name}"], before[name]) for name in before)
    assert (run.config.heads.hidden, run.config.heads.dropout) == ([], 0.0)  # as backbone=module
    again = lifelong.load_run(tmp_path / "run", trust=True, backbone=module())
    assert torch.equal(
        again.scores(given.tasks[0].test.x[:3], 0), run.scores(given.tasks[0].test.x[:3], 0)
    )


def test_a_module_has_the_options_of_a_body(tmp_path: Path) -> None:
    """What refusals and the page on bodies advise."""
    body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 8), torch.nn.Linear(8, 6))
    options = {"data": "digits", "tasks": 2, **FAST, "strategy": "hps"}
    run = lifelong.learn(
        "backbone.blocks=[1,2]", backbone=body, paths={"output_dir": tmp_path / "run"}, **options
    )
    assert list(run.config.backbone.blocks) == [1, 2]
    kept = lifelong.learn(
        "backbone.fixed=true", backbone=body, paths={"output_dir": tmp_path / "fixed"},
        **{**options, "strategy": "finetune"},
    )  # fmt: skip
    for name, value in body.state_dict().items():
        assert torch.equal(kept.body.state_dict()[f"module.{name}"], value)
    again = lifelong.load_run(tmp_path / "run", backbone=body)
    x = torch.rand(2, 1, 8, 8)
    assert torch.equal(again.scores(x, 0), run.scores(x, 0))
    for text in ("backbone.width=8", "backbone.module._target_=x"):
        with pytest.raises(ValueError, match=rf"{text}: the module Sequential is made already"):
            lifelong.learn(text, backbone=body, **options)
    with pytest.raises(ValueError, match="backbone: Lone has no blocks that follow each other"):
        lifelong.learn(backbone=Lone(), **options)


class Lone(torch.nn.Module):
    """A body of one layer."""

    def __init__(self) -> None:
        super().__init__()
        self.only = torch.nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.only(x).mean((1, 2))
        return found


def turned(x: torch.Tensor, _: torch.Generator) -> torch.Tensor:
    return 255 - x


def test_a_streams_own_change_of_test_images_is_that_of_the_finished_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this process; in another the stream is asked for, not left out."""
    given = stream(2, train_transform=turned, test_transform=turned)
    folder = tmp_path / "run"
    run = lifelong.learn(data=given, strategy="hps", paths={"output_dir": folder}, **FAST)
    test = given.tasks[1].test
    right = run.predict(test.x, 1) == test.y
    assert float(right.float().mean()) == pytest.approx(run.results["accuracy"][1][1])
    monkeypatch.setattr("lifelong.networks.given._objects", {})
    with pytest.raises(ValueError, match=r"data: was given as an object.*load_run\(.*data=<it>"):
        lifelong.load_run(folder)
    again = lifelong.load_run(folder, data=given)
    assert torch.equal(again.scores(test.x, 1), run.scores(test.x, 1))


def test_a_run_that_was_stopped_goes_on(tmp_path: Path) -> None:
    options: dict[str, Any] = {"data": stream(), "backbone": module(), **FAST}
    whole = lifelong.learn(strategy=Halved, paths={"output_dir": tmp_path / "whole"}, **options)
    cut = {"paths": {"output_dir": tmp_path / "cut"}, "strategy": Stops}
    with pytest.raises(KeyboardInterrupt):
        lifelong.learn(**cut, **options)
    Stops.stops = False
    try:
        run = lifelong.learn(**cut, resume="auto", **options)
        assert run.results["accuracy"] == whole.results["accuracy"]
        finished = lifelong.learn(**cut, resume="auto", **options)  # is not run again
        assert finished.results["seconds"] == run.results["seconds"]
        with pytest.raises(ValueError, match=r"has another configuration; data\.digest"):
            lifelong.learn(**cut, resume="auto", **{**options, "data": stream(2)})
    finally:
        Stops.stops = True


def test_a_module_made_while_it_learns_is_refused_at_the_first_task(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="strategy=MadeLate: has made the module teacher"):
        lifelong.learn(
            strategy=MadeLate, data="digits", paths={"output_dir": tmp_path / "run"}, **FAST
        )


def test_buffers_made_while_it_learns_and_draws_of_others_go_on(tmp_path: Path) -> None:
    options = {"strategy": Grows, "data": "digits", "tasks": 3, **FAST}
    whole = lifelong.learn(paths={"output_dir": tmp_path / "whole"}, **options)
    cut = {"paths": {"output_dir": tmp_path / "cut"}, **options}
    Grows.stops = True
    try:
        with pytest.raises(KeyboardInterrupt):
            lifelong.learn(**cut)
    finally:
        Grows.stops = False
    run = lifelong.learn(**cut, resume="auto")
    assert run.results["method"]["undefined"] is None  # JSON has no NaN
    numbers = np.random.get_state()[1].copy()  # noqa: NPY002
    lifelong.load_run(tmp_path / "cut", trust=True)
    assert np.array_equal(numbers, np.random.get_state()[1])  # noqa: NPY002
    for found in (whole, run):
        assert found.strategy.old_3.tolist() == [3.0, 3.0]
    for name, value in run.strategy.state_dict().items():
        if torch.is_tensor(value):
            assert torch.equal(value, whole.strategy.state_dict()[name])


def test_seeds_of_a_run_order_the_batches_of_a_stream(tmp_path: Path) -> None:
    """Unless the stream has a seed of its own."""
    found = []
    own: dict[str, Any]
    for seed, own in [(1, {}), (2, {}), (1, {"shuffle_seed": 5}), (2, {"shuffle_seed": 5})]:
        given = keep("data", stream(**own))
        made = given_stream("data", given, (1, 8, 8), shuffle_seed=seed)
        made.serve(made.visits[0])
        found.append(next(iter(made.train_dataloader())).row.tolist())
    assert found[0] != found[1]
    assert found[2] == found[3]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"strategy": "nonsense"}, "strategy=nonsense: there is no such member"),
        ({"epochs": 0}, "epochs=0: give a whole number, 1 or more"),
        ({"search": "tpe"}, "search=tpe: needs -m"),
        ({"hydra.run.dir": "x"}, "hydra.run.dir=.*: runs do not go by it"),
        ({"+epoch": 3}, r"\+epoch: nothing reads epoch; did you mean epochs"),
        ({"epcohs": 3}, "epcohs=3: there is no such option; did you mean epochs"),
        ({"strategy": int}, "strategy: give the name of a member or a subclass of Strategy"),
        ({"data": nn.ReLU()}, "data: give the name of a member or a TaskStream"),
        ({"lr": nn.ReLU()}, "lr: give a name or a value, not ReLU"),
        ({"backbone": nn.Linear(3, 4)}, r"backbone: Linear does not take images \[1, 8, 8\]"),
        (
            {"data": stream(), "batch_size": 8},
            "batch_size=8: the stream mine is made already; give it batch_size= where it is made",
        ),
        (
            {"data": stream(), "tasks": 2},
            "tasks=2: the stream mine is .*; give it limit=",
        ),
        (
            {"data": stream(), "data.repeat": 2},
            "data.repeat=2: .* give it repeat=",
        ),
    ],
)
def test_mistakes(tmp_path: Path, given: Any, message: str) -> None:
    folder = tmp_path / "run"
    options = {"strategy": "finetune", **FAST, "paths": {"output_dir": folder}, **given}
    with pytest.raises(ValueError, match=message):
        lifelong.learn(**options)
    assert not folder.exists()


def test_what_was_changed_of_an_experiment_is_noted(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    own = tmp_path / "experiment" / "mine.yaml"
    own.write_text("# @package _global_\n# mine\nepochs: 1\ntasks: 1\n")
    run = lifelong.learn(
        experiment="mine", config_dir=tmp_path, strategy="finetune", seed=2, **FAST,
        paths={"output_dir": tmp_path / "run"},
    )  # fmt: skip
    assert run.config.changed == ["epochs=2", "strategy=finetune"]


def test_a_method_inside_a_function_is_refused() -> None:
    class Inside(lifelong.Strategy):
        pass

    with pytest.raises(ValueError, match="strategy=Inside: is defined inside a function"):
        lifelong.learn(strategy=Inside)


def test_rows(tmp_path: Path) -> None:
    for seed in (1, 2):
        lifelong.learn(
            strategy="finetune", data="digits", tasks=1, seed=seed, **FAST,
            paths={"output_dir": tmp_path / str(seed)},
        )  # fmt: skip
    rows = lifelong.results(tmp_path)
    rows = rows if isinstance(rows, list) else rows.to_dict("records")
    assert [row["seed"] for row in rows] == [1, 2]
    assert all(0 <= row["final_accuracy"] <= 1 and row["parameters"] > 0 for row in rows)
    assert "lr" not in rows[0]
    with pytest.raises(ValueError, match="there is no such folder"):
        lifelong.results(tmp_path / "none")


def test_the_example_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    code = text.partition("# From Python\n\n")[2].partition("\n\nA whole study")[0]
    lines = [line.removeprefix("    ") for line in code.splitlines()]
    assert len(lines) <= 11
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec("\n".join(lines), found)
    assert found["run"].accuracy.shape == (5, 5)
    assert len(found["rows"]) == 2


def test_public_names_are_there() -> None:
    texts = {n: getattr(lifelong, n).__doc__ or "" for n in lifelong.__all__ if n[0] != "_"}
    assert not [name for name, text in texts.items() if ">>>" not in text]  # an example
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        lifelong.nonsense  # noqa: B018


def test_a_module_without_weights_yet_is_refused(tmp_path: Path) -> None:
    body = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(8))
    with pytest.raises(ValueError, match=r"call it once before, module\(torch.zeros\(2, 1, 8, 8\)"):
        lifelong.learn(data="digits", backbone=body, paths={"output_dir": tmp_path / "run"})
    assert not (tmp_path / "run").exists()
