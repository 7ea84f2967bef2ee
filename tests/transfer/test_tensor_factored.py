"""Tensor factors against their formulas (LASEM spec, check 9)."""

from __future__ import annotations

import pytest
import torch

from tests.transfer.layers import factored


def test_factors_give_the_einsum() -> None:
    layer = factored()
    own, core = layer.mapping["0"], layer.shared_params.core
    expected = torch.einsum(
        "abio,ax,by,ij,op->xyjp", core, own.row, own.column, own.inputs, own.outputs
    )
    weight, bias = layer.shared_weight(0)
    torch.testing.assert_close(weight.permute(2, 3, 1, 0), expected, rtol=0, atol=1e-12)
    assert bias is own.bias


def test_identity_factors_give_the_core_and_no_penalty() -> None:
    layer = factored()
    with torch.no_grad():
        for factor in layer.mapping["0"].factors():
            factor.copy_(torch.eye(len(factor)))
    weight, _ = layer.shared_weight(0)
    assert torch.equal(weight.permute(2, 3, 1, 0), layer.shared_params.core)
    assert layer.penalty(0) == 0


def test_penalty_by_hand_and_its_gradient() -> None:
    layer = factored(orthogonality=0.3)
    expected = 0.0
    for factor in layer.mapping["0"].factors():
        difference = factor.T @ factor - torch.eye(len(factor))
        expected += float((difference**2).sum().sqrt().detach())
    penalty = layer.penalty(0)
    assert penalty.item() == pytest.approx(0.3 * expected)
    penalty.backward()
    assert layer.shared_params.core.grad is None
    assert all(factor.grad.any() for factor in layer.mapping["0"].factors())
    assert factored(orthogonality=0.0).penalty(0) is None
