"""How gates of channels are learned and fixed (LASEM spec, check 21)."""

from __future__ import annotations

import pytest
import torch

from lifelong.strategies import ChannelGated
from lifelong.strategies.channel_gated import openness
from tests.conftest import toy_visit
from tests.networks.gated import network


def test_sparsity_of_softmax_gates_is_constant() -> None:
    made = network()
    _, gates = made.gated(torch.randn(7, 2, 6, 6), 0)
    value = openness(gates)
    expected = sum(1 / width for width in (3, 4, 3, 4)) / 4
    assert value.item() == pytest.approx(expected, rel=1e-6)
    gradients = torch.autograd.grad(value, list(made.gates.parameters()))
    assert max(float(gradient.abs().max()) for gradient in gradients) < 1e-6


def test_what_fires_on_validation_images_is_fixed() -> None:
    made = network("paper", tasks=0)
    strategy = ChannelGated(made, torch.optim.SGD, variant="paper", fix_above=0.5)  # type: ignore[arg-type]
    visit = toy_visit()
    strategy.begin_task(visit)
    with torch.no_grad():
        gate = made.gates["0"][0].second
        gate.weight.zero_()
        gate.bias.copy_(torch.tensor([1.0, -1.0, 1.0]))
    strategy.end_task(visit, [])  # type: ignore[arg-type]
    assert made.fixed_0.tolist() == [True, False, True]
    assert strategy.method["fixed_channels"]["1"][0] == pytest.approx(2 / 3, abs=1e-5)
