"""The gradient in what selects, one step of the weights ahead, against the exact one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from lifelong.data import Batch
from lifelong.parts.second_order import second_order


def batch(*rows: float) -> Batch:
    """Numbers instead of images."""
    x = torch.tensor(rows, dtype=torch.double)
    return Batch(x, torch.zeros(len(rows)).long(), torch.zeros(len(rows)).long())


@pytest.mark.parametrize("rate", [0.0, 0.25])
def test_a_quadratic_loss_by_hand(rate: float) -> None:
    """L = mean of x a^2 w^2 / 2: the step goes to w' = w (1 - eta m a^2), m the mean of x.

    dL'/da = m' a w'^2 directly, and m' a^2 w' dw'/da = m' a^2 w' (-2 eta m a w) by the step.
    """
    a, w, m, held = 0.7, 1.3, 2.0, 3.0
    alpha = torch.nn.Parameter(torch.tensor([a], dtype=torch.double))
    weight = torch.nn.Parameter(torch.tensor([w], dtype=torch.double))

    def loss(data: Batch, chosen: Tensor) -> Tensor:
        return (data.x * chosen**2 * weight**2).mean() / 2

    found = second_order(loss, alpha, [weight], batch(1.0, 3.0), batch(held), rate)
    ahead = w * (1 - rate * m * a**2)
    exact = held * a * ahead**2 + held * a**2 * ahead * (-2 * rate * m * a * w)
    assert found.tolist() == pytest.approx([exact], rel=1e-4)
    assert weight.tolist() == [w]  # put back
    assert weight.grad is None
    assert alpha.grad is None


def test_the_two_sides_drop_out_the_same() -> None:
    """Else their difference, over a small radius, would be noise; all other losses draw anew."""
    alpha = torch.nn.Parameter(torch.ones(3, dtype=torch.double))
    weight = torch.nn.Parameter(torch.full((3,), 0.5, dtype=torch.double))
    masks: list[Any] = []

    def loss(data: Batch, chosen: Tensor) -> Tensor:
        masks.append(torch.rand(3))
        return ((masks[-1] < 0.5) * chosen * weight).square().sum() * data.x.mean()

    second_order(loss, alpha, [weight], batch(1.0), batch(2.0), 0.1)
    _, _, one, other = masks  # of the step, of the held-out loss, of either side
    assert torch.equal(one, other)
    assert not torch.equal(masks[0], masks[1])
