"""DARTS's gradients against autograd (LASEM spec, check 20)."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lifelong.data import Batch
from lifelong.strategies import DARTS
from lifelong.transfer import every
from tests.conftest import toy_visit, transfer_network
from tests.strategies.searches import OPTIMIZER, darts


def batch(n: int = 6) -> Batch:
    return Batch(torch.randn(n, 2, 6, 6), torch.arange(n) % 3, torch.zeros(n).long())


def test_a_tie_is_private() -> None:
    made = darts()
    assert made.choice() == (False,) * 4
    made.selectors.data[1, 1] = 0.1
    assert made.choice() == (False, True, False, False)


def test_first_order_gradient() -> None:
    made, data = darts(), batch()
    loss = made.mixed_loss(data, made.selectors)
    expected = torch.autograd.grad(loss, made.selectors)[0]
    torch.testing.assert_close(made.selector_gradient(data, data, 0.1), expected)


def test_second_order_gradient_is_that_of_the_step_ahead() -> None:
    """Against the exact gradient of L(w - eta grad L(w, alpha), alpha), by autograd."""
    made = DARTS(transfer_network(every).double(), OPTIMIZER, order=2)
    made.begin_task(toy_visit())
    made.double()
    train, held_out = batch(), batch()
    train, held_out = (Batch(b.x.double(), b.y, b.t) for b in (train, held_out))
    rate, alpha = 0.3, made.selectors
    weights = {n: p for n, p in made.network.named_parameters() if p.requires_grad}
    before = {n: p.detach().clone() for n, p in weights.items()}

    def loss(data: Batch, values: dict[str, Any]) -> Any:
        return torch.func.functional_call(_Loss(made, data), values)

    first = loss(train, {f"network.{n}": p for n, p in weights.items()})
    gradients = torch.autograd.grad(first, list(weights.values()), create_graph=True)
    ahead = {
        f"network.{n}": p - rate * g for (n, p), g in zip(weights.items(), gradients, strict=True)
    }
    exact = torch.autograd.grad(loss(held_out, ahead), alpha)[0]
    found = made.selector_gradient(train, held_out, rate)
    torch.testing.assert_close(found, exact, rtol=2e-3, atol=1e-6)
    plain = torch.autograd.grad(made.mixed_loss(held_out, alpha), alpha)[0]
    assert (found - exact).norm() < 0.05 * (plain - exact).norm()
    assert all(torch.equal(p, before[n]) for n, p in weights.items())  # put back


class _Loss(torch.nn.Module):
    """The mixed loss as a module, for `functional_call`."""

    def __init__(self, made: DARTS, data: Batch) -> None:
        super().__init__()
        self.network, self.made, self.data = made.network, (made,), data

    def forward(self) -> Any:
        return self.made[0].mixed_loss(self.data, self.made[0].selectors)


def test_darts_needs_all_configurations() -> None:
    with pytest.raises(ValueError, match=r"DARTS mixes the two forms of every layer by itself"):
        DARTS(transfer_network(partial(every, groups=[2, 2])), OPTIMIZER)


def test_the_penalty_does_not_push_the_selectors() -> None:
    """As in LASEM it moves the factors alone."""
    made, data = darts("tensor_factored"), batch()
    plain = torch.autograd.grad(
        F.cross_entropy(made.logits(data.x, made.selectors), data.y), made.selectors
    )[0]
    torch.testing.assert_close(made.selector_gradient(data, data, 0.1), plain)
