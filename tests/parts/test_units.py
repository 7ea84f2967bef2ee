"""Thresholds of units and of their vectors."""

from __future__ import annotations

import torch

from lifelong.networks.expandable import Growing
from lifelong.parts import units
from tests.strategies.growing import den


def test_thresholds() -> None:
    layer = Growing(3, 2)
    layer.weight.data = torch.tensor([[1.0, 0.0], [0.3, 0.4], [3.0, -4.0]])
    layer.bias.data = torch.tensor([0.2, -1.0, 0.6])
    units.shrink_groups([layer], [1], 1.0)  # the first unit is old
    wanted = torch.tensor([[1.0, 0.0], [0.0, 0.0], [2.4, -3.2]])
    torch.testing.assert_close(layer.weight.detach(), wanted)
    units.soften([layer], 0.5)
    wanted = torch.tensor([[0.5, 0.0], [0.0, 0.0], [1.9, -2.7]])
    torch.testing.assert_close(layer.weight.detach(), wanted)
    torch.testing.assert_close(layer.bias.detach(), torch.tensor([0.0, -0.5, 0.1]))


def test_vectors_into_and_out_of_new_units_shrink_as_groups() -> None:
    made = den()
    made._old, widths = units.copies(made.network.growing()), made.network.widths
    made.network.grow(1, [2] * 5)
    old = [layer.weight.detach().clone() for layer in made.network.growing()]
    units.shrink_groups(made.network.growing(), widths, 0.05)
    below: int | None = None
    for layer, was, width in zip(made.network.growing(), old, widths, strict=True):
        for unit in range(len(layer.bias)):
            first, second = was[unit, :below], was[unit, slice(below, None) if below else slice(0)]
            norms = [part.norm() for part in (first, second)]
            kept = [max(0.0, 1 - 0.05 / float(n)) if n > 0 else 1.0 for n in norms]
            wanted = first * (kept[0] if unit >= width else 1.0)
            torch.testing.assert_close(layer.weight[unit, :below], wanted)
            if below:
                torch.testing.assert_close(layer.weight[unit, below:], second * kept[1])
        below = width
