"""Anchors, and gradients of single images against one backward pass each."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from lifelong.data import Batch
from lifelong.networks import MultiHead, Network
from lifelong.parts.anchor import Anchor
from lifelong.parts.per_image import cross_entropy, image_mean
from tests.conftest import small_body


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


def test_squares_of_single_images() -> None:
    network = Network(small_body(), partial(MultiHead, hidden=[5]))
    for task in (0, 1):
        network.add_task(task, range(3))
    network.eval()
    x, y, t = torch.randn(7, 2, 6, 6), torch.tensor([0, 1, 2, 0, 1, 2, 0]), torch.ones(7).long()
    named = dict(network.named_parameters())
    expected = {name: torch.zeros_like(p) for name, p in named.items()}
    for row in range(7):
        loss = F.cross_entropy(network.logits(x[row : row + 1], 1), y[row : row + 1])
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            if gradient is not None:
                expected[name] += gradient**2 / 7
    for parts in ([7], [3, 4]):
        batches = [
            Batch(*group)
            for group in zip(x.split(parts), y.split(parts), t.split(parts), strict=True)
        ]
        found = image_mean(network, batches, named, cross_entropy, "square")
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-9)
