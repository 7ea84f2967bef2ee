"""Layers that grow."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from lifelong.backbones import convnet
from lifelong.networks import ExpandableNetwork, MultiHead, Network, SingleHead
from tests.conftest import small_body
from tests.strategies.growing import network


@pytest.mark.parametrize("hidden", [(), (5,), (6, 4)])
def test_without_growth_it_is_a_plain_network(hidden: tuple[int, ...]) -> None:
    made = network(hidden)
    plain = Network(small_body(), partial(MultiHead, hidden=list(hidden)))
    plain.add_task(0, range(3))
    target = [*plain.body.layers, *list(plain.heads.head_for(0))[1:]]
    pixels = plain.body.features // 4
    with torch.no_grad():
        for own, layer in zip([*made.growing(), made.head(0)], target, strict=True):
            weight = own.weight
            if own.weight.dim() == 3:  # (u, channel, pixel): the plain one has pixel, channel
                assert own.weight.shape[2] == pixels
                weight = own.weight.transpose(1, 2).flatten(1)
            layer.weight.copy_(weight)
            layer.bias.copy_(own.bias)
    x = torch.randn(4, 2, 6, 6)
    torch.testing.assert_close(made.logits(x, 0), plain.logits(x, 0))
    assert made.size() == plain.size()
    assert made.single_size(0) == plain.single_size(0)


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_earlier_tasks_do_not_see_new_units(hidden: tuple[int, ...]) -> None:
    made, x = network(hidden), torch.randn(4, 2, 6, 6)
    before = made.logits(x, 0)
    made.stamps[0] = made.widths
    made.add_task(1, range(3))
    made.grow(1, [2] * len(made.widths))
    assert torch.equal(made.logits(x, 0), before)
    with torch.no_grad():  # nor what old units make of new ones
        for layer, width in zip(made.growing()[1:], made.stamps[0], strict=False):
            layer.weight[:, width:] += 5
    assert torch.equal(made.logits(x, 0), before)
    assert made.logits(x, 1).shape == (4, 3)


def test_dropping_what_was_added_gives_the_network_back() -> None:
    made, x = network(), torch.randn(4, 2, 6, 6)
    before, widths = made.logits(x, 0), made.widths
    made.grow(0, [2, 1, 0, 3, 2])
    assert made.widths == [a + b for a, b in zip(widths, [2, 1, 0, 3, 2], strict=True)]
    gone = [torch.arange(now) >= old for now, old in zip(made.widths, widths, strict=True)]
    made.drop(0, gone)
    assert made.widths == widths
    assert torch.equal(made.logits(x, 0), before)


def test_state_of_a_grown_network_loads_into_a_new_one() -> None:
    made, x = network(tasks=2), torch.randn(4, 2, 6, 6)
    made.stamps[0] = made.widths
    made.grow(1, [2, 1, 0, 3, 2])
    other = network(tasks=2)
    other.load_state_dict(made.state_dict())
    for task in (0, 1):
        assert torch.equal(made.logits(x, task), other.logits(x, task))


def test_refuses_skips() -> None:
    body = partial(convnet, (2, 6, 6), [4, 4], [1, 1], skips=[None, 0])
    with pytest.raises(ValueError, match=r"backbone: has skips"):
        ExpandableNetwork(body, MultiHead)
    with pytest.raises(ValueError, match="give heads=multi"):
        ExpandableNetwork(small_body(), SingleHead)
