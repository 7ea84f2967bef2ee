"""Every strategy on a device on which a misplaced tensor is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong.configuration import stored
from lifelong.data import Visit
from lifelong.storage.checkpoint import Checkpoint
from lifelong.storage.files import read_json, sealed, write_json
from lifelong.strategies import Strategy
from lifelong.training import experiment
from lifelong.training.experiment import Experiment
from tests.conftest import execute, results_of
from tests.pretended import DEVICE, NAME, OPTIONS, Device
from tests.test_contract import FAST, STRATEGIES, VARIANTS, Killed, chosen, die_at

SAME = ("er", "lasem_hps", "mas", "tickets_td")  # its kernels are the CPU's
SHORT = [*FAST, "tasks=2", "epochs=1"]
OPTIONS_OF_DEVICE = [option.partition("=")[0].lstrip("+") for option in OPTIONS]


@pytest.mark.parametrize(
    "strategy",
    [*STRATEGIES, *(pytest.param(way, marks=pytest.mark.slow) for way in VARIANTS)],
)
def test_nothing_is_misplaced(tmp_path: Path, strategy: str) -> None:
    options = [*SHORT, *chosen(strategy)]
    with Device() as device:
        assert execute(tmp_path / "there", *options, *OPTIONS) == 0
    assert device.counts["launches"] > 100
    if strategy in SAME:
        assert execute(tmp_path / "here", *options) == 0
        here, there = (results_of(tmp_path / where)["accuracy"] for where in ("here", "there"))
        assert here == there


def test_a_run_that_goes_on_begins_its_task_on_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is worked out there from the weights rounds as it did."""
    options = [*SHORT, "strategy=apd", "resume=auto", *OPTIONS]
    begin, places = Strategy.begin_task, []

    def noted(self: Strategy, visit: Visit) -> None:
        places.append((visit.number, {p.device.type for p in self.parameters()}))
        begin(self, visit)

    monkeypatch.setattr(Strategy, "begin_task", noted)
    with Device():
        with monkeypatch.context() as patch:
            die_at(patch, 1)
            with pytest.raises(Killed):
                execute(tmp_path, *options)
        assert execute(tmp_path, *options) == 0
    assert [number for number, _ in places] == [1, 1, 2]
    assert [there for _, there in places] == [{DEVICE.type}] * 3


@pytest.mark.parametrize("strategy", ["lasem_hps", "er"])
def test_a_run_goes_on_on_another_device_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str, capsys: Any
) -> None:
    """As where a GPU is lent for some minutes; other options are refused as ever."""
    monkeypatch.setattr(stored, "MOVES", tuple(OPTIONS_OF_DEVICE))
    options = [*SHORT, *chosen(strategy), "optimizer_lifetime=stream"]
    assert execute(tmp_path / "whole", *options) == 0
    with monkeypatch.context() as patch, Device():
        die_at(patch, 1)
        patch.setattr(experiment, "peak_memory", lambda device: {"process": 1, "gpu": 7})
        with pytest.raises(Killed):
            execute(tmp_path / "run", *options, *OPTIONS)
    capsys.readouterr()
    assert execute(tmp_path / "run", *options, "resume=auto", "lr=0.5") == 2
    assert "has another configuration; lr: was" in capsys.readouterr().err
    assert execute(tmp_path / "run", *options, "resume=auto") == 0
    said = f"note: computed on {NAME} so far, and on cpu from here on"
    assert said in (tmp_path / "run" / "train.log").read_text()
    accuracies = [results_of(tmp_path / name)["accuracy"] for name in ("whole", "run")]
    assert accuracies[0] == accuracies[1]
    now = read_json(tmp_path / "run" / "environment.json")
    assert (now["device"], [part["device"] for part in now["before"]]) == ("cpu", [NAME])
    assert "before" not in read_json(tmp_path / "whole" / "environment.json")
    memory = read_json(tmp_path / "run" / "results.json")["peak_memory"]
    assert memory["gpu"] == 7
    assert memory["process"] > 1


def test_a_run_that_has_computed_nothing_yet_is_of_the_device_that_begins_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = [*SHORT, "strategy=finetune", "resume=auto"]
    monkeypatch.setattr(stored, "MOVES", tuple(OPTIONS_OF_DEVICE))
    with Device():
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoint, "save", lambda *_: (_ for _ in ()).throw(Killed()))
            with pytest.raises(Killed):
                execute(tmp_path / "run", *options)
        assert execute(tmp_path / "run", *options, *OPTIONS) == 0
    config = stored.read_config(tmp_path / "run" / "config.yaml")
    assert config.trainer.accelerator == NAME
    now = read_json(tmp_path / "run" / "environment.json")
    assert (now["device"], "before" in now) == (NAME, False)


def test_a_stored_run_on_the_cpu_of_a_machine_with_a_gpu_goes_on_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """0.2.0 noted the GPU that was there, used or not."""
    options = [*SHORT, "strategy=finetune", "resume=auto"]
    with monkeypatch.context() as patch:
        die_at(patch, 1)
        with pytest.raises(Killed):
            execute(tmp_path / "run", *options)
    path = tmp_path / "run" / "environment.json"
    write_json(path, sealed(read_json(path) | {"device": "H", "commit": "1"}))
    assert execute(tmp_path / "run", *options) == 0
    now = read_json(path)
    assert [part["device"] for part in (*now["before"], now)] == ["cpu", "cpu"]
    assert "computed on" not in (tmp_path / "run" / "train.log").read_text()


@pytest.mark.parametrize(("strategy", "a_step"), [("agem", 0), ("derpp", 0), ("gem", 2)])
def test_a_step_does_not_wait_for_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str, a_step: int
) -> None:
    """GEM asks for the numbers of its quadratic program; the others for nothing."""
    waits, steps, fit = [], [], Experiment._fit
    with Device() as device:

        def fitted(self: Experiment, *args: Any, **options: Any) -> Any:
            before, begun = device.counts["waits"], self.strategy.steps_trained
            found = fit(self, *args, **options)
            waits.append(device.counts["waits"] - before)
            steps.append(self.strategy.steps_trained - begun)
            return found

        monkeypatch.setattr(Experiment, "_fit", fitted)
        for epochs in (1, 3):
            options = [*SHORT, f"epochs={epochs}", "evaluate_every=0", *chosen(strategy), *OPTIONS]
            assert execute(tmp_path / str(epochs), *options) == 0
    more = steps[3] - steps[1]  # in the second task, where there is something to rehearse
    assert more > 5
    assert waits[3] - waits[1] <= a_step * more + 2  # one an epoch, for the sum of its losses


def test_images_may_lie_apart(tmp_path: Path) -> None:
    with Device():
        for where in ("host", "device"):
            folder = tmp_path / where
            assert execute(folder, *SHORT, "strategy=er", f"data.images_on={where}", *OPTIONS) == 0
    one, other = (results_of(tmp_path / where)["accuracy"] for where in ("host", "device"))
    assert one == other


def test_the_device_refuses_tensors_of_the_cpu_and_counts() -> None:
    with Device() as device:
        x, net = torch.ones(2, 3), torch.nn.Linear(3, 1).to(DEVICE)
        device.counts.clear()
        with pytest.raises(RuntimeError, match="tensors of the CPU"):
            net(x)
        there = x.to(DEVICE)
        assert net(there).shape == (2, 1)
        assert (device.counts["launches"], device.counts["copies"]) == (1, 1)
        assert there.sum().item() == 6
        assert there.cpu().tolist() == [[1, 1, 1], [1, 1, 1]]
        assert (device.counts["launches"], device.counts["waits"]) == (2, 2)
