"""Copies of a network's tensors, to go back to."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lifelong.parts.copies import put_back, standing_in, tensors_of


def network() -> nn.Sequential:
    """Parameters and buffers: what is counted as well as what is learned."""
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def moved(made: nn.Module) -> None:
    """Trains in no sensible way; running means move, too."""
    made(torch.randn(5, 3))
    with torch.no_grad():
        for p in made.parameters():
            p.add_(1.0)


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_a_copy_is_what_it_was_when_it_was_taken() -> None:
    made = network()
    copy, before = tensors_of(made), {n: t.clone() for n, t in made.state_dict().items()}
    moved(made)
    assert same(copy, before)
    now = tensors_of(made)
    assert not any(torch.equal(now[name], before[name]) for name in before)
    put_back(made, copy)
    assert same(tensors_of(made), before)
    moved(made)
    assert same(copy, before)  # it shares no memory with the network


def test_what_a_copy_lacks_stays() -> None:
    made = network()
    copy = {name: value for name, value in tensors_of(made).items() if name.startswith("1.")}
    before = tensors_of(made)
    moved(made)
    moved_to = tensors_of(made)
    put_back(made, copy)
    for name, value in tensors_of(made).items():
        assert torch.equal(value, (before if name.startswith("1.") else moved_to)[name]), name


def test_other_tensors_stand_in_for_a_while() -> None:
    made, x = network().eval(), torch.randn(2, 3)
    earlier, answers = tensors_of(made), made(x)
    moved(made.train())
    made.eval()
    later = made(x)
    with standing_in(made, earlier):
        assert torch.equal(made(x), answers)
    assert torch.equal(made(x), later)
    assert not torch.equal(later, answers)


def test_the_network_is_back_after_an_error() -> None:
    network = nn.Linear(1, 1)
    other = tensors_of(network)
    nn.init.constant_(network.weight, 5.0)
    with pytest.raises(ValueError, match="stop"), standing_in(network, other):
        raise ValueError("stop")
    assert network.weight.item() == 5
