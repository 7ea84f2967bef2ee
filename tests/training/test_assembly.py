"""Objects from a configuration: how answers are measured, what is measured, what is compiled."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from lifelong.data import TaskStream
from lifelong.measures import Loss
from lifelong.networks import Independent, MultiHead, Network, SingleHead
from lifelong.strategies import Strategy
from lifelong.training import machine
from lifelong.training.assembly import _check_images, _compile, _measures, _on_own_device, _ways
from lifelong.training.processes import Place
from tests.conftest import configured, small_body, toy_task


def asked(network: Any, heads: Any, wanted: str) -> tuple[str, ...]:
    strategy = Strategy(network(small_body(), heads), partial(torch.optim.SGD, lr=0.1))
    stream = TaskStream([toy_task(0), toy_task(1)], name="toy", batch_size=5)
    return _ways(strategy, stream, wanted)


@pytest.mark.parametrize(
    ("network", "heads", "wanted", "ways"),
    [
        (Network, MultiHead, "task", ("task", "class")),  # one pass answers both ways
        (Network, MultiHead, "class", ("class", "task")),
        (Network, MultiHead, "both", ("task", "class")),
        (Independent, MultiHead, "task", ("task",)),
        (Independent, MultiHead, "both", ("task", "class")),
        (Independent, MultiHead, "class", ("class", "task")),
        (Network, SingleHead, "task", ("task",)),
    ],
)
def test_both_ways_are_measured_where_that_can_be_had(
    network: Any, heads: Any, wanted: str, ways: tuple[str, ...]
) -> None:
    assert asked(network, heads, wanted) == ways


@pytest.mark.parametrize("wanted", ["class", "both"])
def test_a_single_head_does_not_tell_tasks_apart(wanted: str) -> None:
    with pytest.raises(ValueError, match=f"evaluate={wanted}: a single head does not tell"):
        asked(Network, SingleHead, wanted)


def test_measures_are_classes_that_measure() -> None:
    def chosen(**measures: Any) -> Any:
        return _measures(OmegaConf.create({"measure": measures}))

    loss = {"_target_": "lifelong.measures.Loss", "_partial_": True}
    made = chosen(loss=loss)
    assert made.keys() == {"loss"}
    one, other = made["loss"](), made["loss"]()
    assert isinstance(one, Loss)
    assert one is not other
    with pytest.raises(ValueError, match=r"measure\.accuracy: names with accuracy at their begin"):
        chosen(accuracy=loss)
    for wrong in (loss | {"_partial_": False}, {"_target_": "builtins.dict", "_partial_": True}, 3):
        with pytest.raises(ValueError, match=r"measure\.mine: makes no lifelong\.Measure"):
            chosen(mine=wrong)


def test_a_body_is_compiled_by_a_backend_that_is_there() -> None:
    asked_for: list[str] = []
    strategy: Any = SimpleNamespace(compile_body=asked_for.append)
    for wanted in (False, True, "eager", "aot_eager"):
        _compile(strategy, wanted)
    assert asked_for == ["inductor", "eager", "aot_eager"]
    with pytest.raises(ValueError, match=r"compile=fast: give true, false, or one of .*eager"):
        _compile(strategy, "fast")


def test_a_run_goes_on_with_the_images_that_it_began_with() -> None:
    config = OmegaConf.create({"resume": "auto", "paths": {"data_dir": "here"}})
    saved: Any = SimpleNamespace(record={"images": {"checksum": 5, "origin": "a.zip"}})
    record: Any = SimpleNamespace(images={"checksum": 5, "origin": "b.zip"})
    _check_images(saved, record, config)
    record.images["checksum"] = 6
    message = r"resume=auto: .*\(from a\.zip, now from b\.zip in paths\.data_dir=here\)"
    with pytest.raises(ValueError, match=message):
        _check_images(saved, record, config)


@pytest.mark.parametrize(
    ("trainer", "there", "devices"),
    [("gpu", True, [1]), ("auto", True, [1]), ("cpu", True, 1), ("auto", False, 1)],
)
def test_one_of_several_processes_has_the_device_of_its_number_where_it_is_a_gpu(
    trainer: str, there: bool, devices: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a machine with GPUs; PyTorch may not be one for them."""
    monkeypatch.setattr(machine, "gpus", lambda: 2)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    config = configured("data=digits", f"trainer={trainer}", "trainer.devices=2")
    make: Any = _on_own_device(config, Place(rank=1, local_rank=1, size=2))
    assert make.keywords["devices"] == devices
