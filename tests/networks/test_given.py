"""Objects made in Python that stand for members of the configuration."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from lifelong.data import TaskStream
from lifelong.data.transforms import Pad
from lifelong.networks.given import Given, given, keep
from tests.conftest import toy_task


def module(width: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, width, 3), nn.BatchNorm2d(width))


def test_a_digest_tells_modules_apart_by_structure_and_weights() -> None:
    digest = keep("backbone", module())
    assert keep("backbone", module()) == digest
    assert keep("backbone", module(4)) != digest
    other = module()
    with torch.no_grad():
        other[0].weight[0, 0, 0, 0] += 1
    assert keep("backbone", other) != digest
    buffered = module()
    buffered(torch.randn(2, 2, 6, 6))  # running means alone
    assert keep("backbone", buffered) != digest
    assert keep("backbone", module(), digest=5) == 5
    assert isinstance(given("backbone", 5, (2, 6, 6)), Given)


def test_a_module_is_a_body_whose_features_are_flat() -> None:
    """A copy: training it leaves the module alone. In the mode in which the module is."""
    own = module().train()
    means = own[1].running_mean.clone()
    body = given("backbone", keep("backbone", own), (2, 6, 6))
    assert body.features == 3 * 4 * 4
    assert body.module.training
    x = torch.randn(5, 2, 6, 6)
    torch.testing.assert_close(body.eval()(x), own.eval()(x).flatten(1))
    body.train()(x)
    assert torch.equal(own[1].running_mean, means)
    with pytest.raises(ValueError, match=r"backbone: Sequential does not take images \[3, 6, 6\]"):
        Given(own, (3, 6, 6))


def test_a_stream_comes_as_a_copy_over_the_same_pixels() -> None:
    stream = TaskStream([toy_task(0)], name="toy", batch_size=5)
    digest = keep("data", stream)
    assert digest == stream.identity()
    copy = given("data", digest, (2, 6, 6), Pad(1), Pad(2))
    assert copy is not stream
    assert copy.tasks[0].train.x is stream.tasks[0].train.x
    assert copy.tasks[0].test[torch.arange(2)].x.shape == (2, 2, 10, 10)
    assert stream.tasks[0].test[torch.arange(2)].x.shape == (2, 2, 6, 6)
    plain = given("data", digest, (2, 6, 6))
    assert plain.tasks[0].test[torch.arange(2)].x.shape == (2, 2, 6, 6)


def test_what_another_process_was_given_is_asked_for_again() -> None:
    with pytest.raises(ValueError, match=r"data: .* call lifelong.learn\(..., data=<it>\) again"):
        given("data", -1, (2, 6, 6))


def test_streams_are_told_apart_by_all_that_decides_what_is_served() -> None:
    def made(**options: Any) -> int:
        torch.manual_seed(0)
        tasks = [toy_task(0), toy_task(1)]
        return keep("data", TaskStream(tasks, **({"batch_size": 5} | options)))

    plain = made()
    assert made() == made(images_on="host") == plain
    others = [
        made(batch_size=4), made(drop_last=True), made(order=[2, 1]), made(blurry=0.2),
        made(shuffle_seed=3), made(repeat=2), made(online=True), made(test_transform=Pad(1)),
        made(train_transform=Pad(1)), made(train_transform=Pad(2)), made(labels="shared"),
    ]  # fmt: skip
    assert len({plain, *others}) == len(others) + 1
    torch.manual_seed(0)
    scaled = [toy_task(0), toy_task(1)]
    scaled[1].test.scale = scaled[1].test.scale * 2
    assert keep("data", TaskStream(scaled, batch_size=5)) != plain
