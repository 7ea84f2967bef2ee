"""An anchor's penalty and its gradient."""

from __future__ import annotations

import torch
from torch import nn

from lifelong.parts.anchor import Anchor


def test_penalty_and_its_gradient() -> None:
    parameters = {"a.b": nn.Parameter(torch.randn(3, 2)), "c": nn.Parameter(torch.randn(4))}
    anchor = Anchor()
    anchor.extend(parameters)
    assert anchor.penalty(parameters) == 0
    for name in parameters:
        anchor.importance(name).copy_(torch.rand_like(parameters[name]))
    before = {name: p.detach().clone() for name, p in parameters.items()}
    with torch.no_grad():
        for p in parameters.values():
            p.add_(torch.randn_like(p))
    expected = sum(
        (anchor.importance(name) * (p - before[name]) ** 2).sum() for name, p in parameters.items()
    )
    penalty = anchor.penalty(parameters)
    torch.testing.assert_close(penalty, expected)
    gradients = torch.autograd.grad(penalty, list(parameters.values()))
    for found, exact in zip(anchor.gradients(parameters), gradients, strict=True):
        torch.testing.assert_close(found, exact)
    anchor.move_to(parameters)
    assert anchor.penalty(parameters) == 0


def test_later_parameters_have_no_importance() -> None:
    anchor, first = Anchor(), {"a": nn.Parameter(torch.ones(2))}
    anchor.extend(first)
    anchor.importance("a").fill_(3.0)
    both = first | {"b": nn.Parameter(torch.ones(2))}
    anchor.extend(both)
    both["b"].data.add_(5.0)
    assert anchor.penalty(both) == 0
    both["a"].data.add_(1.0)
    assert anchor.penalty(both) == 6
