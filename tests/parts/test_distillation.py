"""Distillation and its gradient by hand."""

from __future__ import annotations

import torch

from lifelong.parts.distillation import distillation


def test_distillation_and_its_gradient() -> None:
    """T (softmax(u/T) - softmax(z/T)) / batch; at T = 2 four times the softened cross-entropy."""
    u = torch.randn(5, 4, dtype=torch.double, requires_grad=True)
    z = torch.randn(5, 4, dtype=torch.double)
    kd = 2.0**2 * distillation(u, z, 2.0)
    p, q = (z / 2).softmax(1), (u / 2).softmax(1)
    torch.testing.assert_close(kd, -4 * (p * q.log()).sum(1).mean())
    (gradient,) = torch.autograd.grad(kd, u)
    torch.testing.assert_close(gradient, 2 * (q - p).detach() / 5, rtol=0, atol=1e-12)
    same = distillation(u, u.detach(), 2.0)
    assert torch.autograd.grad(same, u)[0].abs().max() < 1e-12
