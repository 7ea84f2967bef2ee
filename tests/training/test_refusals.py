"""Options that do not fit each other, or the method, or the stream."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from lifelong.backbones import Wrapped
from lifelong.data import Task, TaskStream
from lifelong.networks import MultiHead, Network
from lifelong.strategies import CIL, EWC, GEM, MAS, Joint, Strategy
from lifelong.training.refusals import (
    _is_like,
    _refuse_clipping,
    _refuse_complex,
    _refuse_contradictions,
    _refuse_groups,
    _refuse_heads,
    _refuse_lone_image,
    _refuse_memory,
    _refuse_shapes,
    _refuse_shared_classes,
    _refuse_validation,
)
from tests.conftest import images, small_body, toy_task

SGD = partial(torch.optim.SGD, lr=0.1)


def stream_of(*tasks: Task, **options: Any) -> TaskStream:
    return TaskStream(tasks, name="toy", batch_size=5, **options)


def method(**changes: Any) -> Strategy:
    made = Strategy(Network(small_body(), MultiHead), SGD)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


class Mixed(nn.Module):
    """Layers of several precisions."""

    def __init__(self, other: torch.dtype) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(36, 4), nn.Linear(4, 4).to(other)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.second(self.first(x.flatten(2)).relu().to(self.second.weight.dtype))
        return (found.real if found.is_complex() else found).float()


def mixed(other: torch.dtype) -> Strategy:
    return Strategy(Network(partial(Wrapped, Mixed(other), (2, 6, 6)), MultiHead), SGD)


@pytest.mark.filterwarnings("ignore:Complex modules are a new feature")
def test_weights_of_several_kinds() -> None:
    config = OmegaConf.create({"trainer": {"precision": "32-true"}})
    with pytest.raises(ValueError, match=r"backbone: module\.second\.weight is complex64, where"):
        _refuse_complex(mixed(torch.complex64))
    double = mixed(torch.double)
    _refuse_complex(double)
    double.lifetime = "stream"
    with pytest.raises(ValueError, match=r"its weights are torch.float32 and torch.float64, where"):
        _refuse_memory(double, "TAG", config)


@pytest.mark.parametrize("kind", [GEM, EWC, MAS])
def test_a_more_precise_layer_is_as_any_other(kind: Any) -> None:
    made = kind(mixed(torch.double).network, SGD)
    visits = list(stream_of(toy_task(0), toy_task(1)))
    for visit in visits:
        made.begin_task(visit)
        batch = visit.train[torch.arange(6)]
        for _ in range(2):
            made.zero_grad()
            made.training_loss(batch).backward()
            made.on_before_optimizer_step(None)
            assert all(p.grad is None or p.grad.dtype == p.dtype for p in made.parameters())
        made.end_task(visit, [batch])


@pytest.mark.parametrize("limit", [0, -1, -0.5])
def test_clipping_that_clips_nothing(limit: float) -> None:
    config = OmegaConf.create({"trainer": {"gradient_clip_val": limit}})
    with pytest.raises(
        ValueError, match=rf"trainer\.gradient_clip_val={limit}: would clip nothing"
    ):
        _refuse_clipping(config)
    _refuse_clipping(OmegaConf.create({"trainer": {"gradient_clip_val": 0.5}}))


@pytest.mark.parametrize(
    ("default", "value", "most", "right"),
    [
        (False, True, math.inf, True),
        (False, 1, math.inf, False),
        (0.9, 1, 1, True),
        (0.9, 1.5, 1, False),
        (0.9, -0.1, math.inf, False),
        (0.9, True, math.inf, False),
        (0.9, "0.9", math.inf, False),
        ((0.9, 0.999), [0.5, 0.9], math.inf, True),
        ((0.9, 0.999), [0.5], math.inf, False),
        ((0.9, 0.999), [0.5, "x"], math.inf, False),
        (None, "anything", math.inf, True),
        ("text", 3, math.inf, False),
    ],
)
def test_a_value_stands_in_place_of_a_default_of_its_kind(
    default: Any, value: Any, most: float, right: bool
) -> None:
    assert _is_like(default, value, most) == right


def test_one_head_gives_an_image_one_label() -> None:
    """A class of two tasks under two labels is refused where they show the same image of it."""
    first = toy_task(0)
    turned = images(24, task=1)
    turned.x, turned.y = first.train.x, (first.train.y + 1) % 3
    second = Task(1, "turned", (2, 0, 1), turned, images(12, task=1), images(12, task=1))
    message = "class 2 is label 2 of task 1 and label 0 of task 2, and a single head"
    with pytest.raises(ValueError, match=message):
        _refuse_contradictions(stream_of(first, second))
    _refuse_contradictions(stream_of(first, replace(second, train=images(24, task=1))))
    _refuse_contradictions(stream_of(first, toy_task(1)))


def test_classes_of_two_tasks_are_refused_by_methods_that_tell_all_apart() -> None:
    shared = stream_of(toy_task(0), replace(toy_task(1), classes=(3, 1, 5)))
    _refuse_shared_classes(method(), shared)
    refusing = method(refuses=CIL.refuses)
    _refuse_shared_classes(refusing, stream_of(toy_task(0), toy_task(1)))
    message = "class 1 belongs to two tasks, and Strategy .*; give each class to one task"
    with pytest.raises(ValueError, match=message):
        _refuse_shared_classes(refusing, shared)


def test_images_are_served_in_the_shape_that_the_body_takes() -> None:
    stream = stream_of(toy_task(0))
    _refuse_shapes(stream, OmegaConf.create({"backbone": {"shape": [2, 6, 6]}}))
    _refuse_shapes(stream, OmegaConf.create({"backbone": {}}))
    message = r"backbone\.shape=\[2, 8, 8\]: training images are served as \[2, 6, 6\]"
    with pytest.raises(ValueError, match=message):
        _refuse_shapes(stream, OmegaConf.create({"backbone": {"shape": [2, 8, 8]}}))


def test_a_last_batch_of_one_image_is_refused_where_it_cannot_be_learned() -> None:
    """Before the first task, where it is a later one's."""

    def over(batch_size: int, **options: Any) -> TaskStream:
        tasks = [toy_task(0), toy_task(1, n=25)]
        return TaskStream(tasks, name="toy", batch_size=batch_size, **options)

    norm = nn.Sequential(nn.Flatten(), nn.Linear(72, 3), nn.BatchNorm1d(3))
    normed = method(network=Network(partial(Wrapped, norm, (2, 6, 6)), MultiHead))
    message = r"batch_size=8: leaves one image of task 2 .* \(Expected more than 1 value"
    with pytest.raises(ValueError, match=message + ".*data.drop_last=true"):
        _refuse_lone_image(normed, over(8))
    _refuse_lone_image(normed, over(7))
    _refuse_lone_image(normed, over(8, drop_last=True))
    with pytest.raises(ValueError, match="batch_size=1: leaves one image of task 1"):
        _refuse_lone_image(normed, over(1, drop_last=True))
    _refuse_lone_image(method(), over(8))
    joined = Joint(Network(partial(Wrapped, norm, (2, 6, 6)), MultiHead), SGD)
    _refuse_lone_image(joined, over(8))  # which trains on 49 images at once


@pytest.mark.parametrize(
    ("epochs", "every", "best", "needed", "right"),
    [
        (10, 1, 0, False, True),
        (10, 0, 0, False, True),  # nobody asks for validation images
        (10, 0, 0, True, False),
        (10, 11, 0, True, False),  # no epoch is validated
        (10, 10, 0, True, True),
        (10, 3, 1, False, False),  # the ninth is the last one that is, and the tenth counts
        (10, 3, 2, False, True),
        (10, 5, 1, False, True),
        (10, 0, 20, False, False),
    ],
)
def test_who_decides_by_validation_images_has_some_to_look_at(
    epochs: int, every: int, best: int, needed: bool, right: bool
) -> None:
    values = {"measure_on": "test", "restore_best": best, "evaluate_every": every, "epochs": epochs}
    asked = method(needs_validation=needed), stream_of(toy_task(0)), OmegaConf.create(values)
    if right:
        _refuse_validation(*asked)
    else:
        with pytest.raises(ValueError, match=f"evaluate_every={every}: .* decides by validation"):
            _refuse_validation(*asked)


def test_tasks_without_validation_images_are_named() -> None:
    task = toy_task(0)
    bare = stream_of(replace(task, val=task.val.part(torch.arange(0))))
    values = {"measure_on": "test", "restore_best": 1, "evaluate_every": 1, "epochs": 2}
    with pytest.raises(ValueError, match="task 1 has no validation images: restore_best decides"):
        _refuse_validation(method(), bare, OmegaConf.create(values))
    values |= {"measure_on": "validation", "restore_best": 0}
    _refuse_validation(method(), bare, OmegaConf.create(values))
    with pytest.raises(ValueError, match="measure_on=validation: Strategy learns from the valid"):
        _refuse_validation(method(trains_on_validation=True), bare, OmegaConf.create(values))


def test_groups_are_of_parameters_that_there_are() -> None:
    """And looking for them draws no chance of the run."""
    stream, made = stream_of(toy_task(0)), method()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    _refuse_groups(made, stream)
    made.groups = {"heads": {"lr": 0.5}, "bias": {"rule": "Adam", "lr": 0.1, "betas": [0.5, 0.9]}}
    _refuse_groups(made, stream)
    assert torch.equal(torch.rand(2), expected)
    assert not list(made.network.heads.parameters())  # a copy had the first task's
    made.groups = {"weights": {"lr": 0.5}}
    with pytest.raises(ValueError, match=r"groups\.weights: no parameter has that word.*body"):
        _refuse_groups(made, stream)


def test_a_task_of_one_class_needs_other_classes_to_compete_with() -> None:
    """A head of its own is always right there."""
    parts = (images(size, classes=1, task=1) for size in (24, 12, 12))
    stream = stream_of(toy_task(0), Task(1, "task 2", (3,), *parts))
    heads = {"_target_": "lifelong.networks.MultiHead", "_partial_": True}
    with pytest.raises(ValueError, match=r"the tasks have 3, 1 classes, and task 2 has"):
        _refuse_heads(stream, OmegaConf.create({"heads": heads}))
    columns = {"_target_": "lifelong.networks.OutputMatrix", "_partial_": True, "outputs": 10}
    with pytest.raises(ValueError, match=r"the tasks have 3, 1 classes, and task 2 has"):
        _refuse_heads(stream, OmegaConf.create({"heads": columns}))
    given = {"heads": columns, "data": {"classes": [[0, 1, 2], [3]]}}
    with pytest.raises(ValueError, match=r"data\.classes: .* give more classes to it"):
        _refuse_heads(stream, OmegaConf.create(given))
    heads["_target_"] = "lifelong.networks.IncrementalHead"
    _refuse_heads(stream, OmegaConf.create({"heads": heads}))
