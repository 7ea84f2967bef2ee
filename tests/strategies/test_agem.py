"""A-GEM against plain projections and steps (TAG spec, check 9.9)."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lifelong.networks import MultiHead, OutputMatrix, SingleHead
from lifelong.strategies import AGEM
from lifelong.strategies.agem import project
from tests.conftest import toy_visit
from tests.strategies.steps import batch, flat, network

SGD = partial(torch.optim.SGD, lr=0.1)


def parameters(gradients: list[Any], like: list[torch.Tensor]) -> list[torch.nn.Parameter]:
    """Parameters that have the gradients, of the shapes of others."""
    made = [torch.nn.Parameter(torch.zeros_like(tensor)) for tensor in like]
    for p, gradient in zip(made, gradients, strict=True):
        p.grad = gradient
    return made


def test_projection() -> None:
    for _ in range(20):
        g, r = ([torch.randn(3, 4), torch.randn(5)] for _ in range(2))
        before, reference = flat(g), flat(r)
        project(parameters(g, g), r)
        after, dot = flat(g), before @ reference
        assert after @ reference >= -1e-6 * after.norm() * reference.norm()
        if dot >= 0:
            assert torch.equal(after, before)
        else:
            expected = before - dot / (reference @ reference) * reference
            torch.testing.assert_close(after, expected)
    ones = parameters([torch.ones(2)], [torch.ones(2)])
    project(ones, [torch.zeros(2)])  # a reference of zero changes nothing
    assert ones[0].grad is not None
    assert torch.equal(ones[0].grad, torch.ones(2))
    project(ones, [None])


@pytest.mark.parametrize("heads", [MultiHead, SingleHead, partial(OutputMatrix, outputs=6)])
def test_nothing_points_against_the_past_after_a_step(heads: Any) -> None:
    """Also of parameters that the batch does not move, such as another task's head."""
    made = AGEM(network(heads), SGD, per_class=2)
    against = 0
    tasks = toy_visit(0), toy_visit(1)
    for visit in tasks:
        visit.train.x = torch.randn_like(visit.train.x)
        visit.train.y = torch.full_like(visit.train.y, visit.task.index)
        visit.train.dtype = torch.float64
        made.begin_task(visit)
        made.double().training_loss(batch(visit))
    for _ in range(20):
        for p in made.parameters():  # of other weights gradients point elsewhere
            p.data.normal_(std=0.3)
        made.zero_grad()
        made.training_loss(batch(tasks[1])).backward()
        reference = made._reference
        assert reference is not None
        zeros = [torch.zeros_like(p) for p in made._trained()]
        r = flat([z if found is None else found for z, found in zip(zeros, reference, strict=True)])
        pairs = list(zip(zeros, made._trained(), strict=True))
        before = flat([z if p.grad is None else p.grad for z, p in pairs]) @ r
        made.on_before_optimizer_step(None)
        after = flat([z if p.grad is None else p.grad for z, p in pairs]) @ r
        against += int(before < 0)
        assert after >= -1e-12 * (r @ r)
    assert against


def test_agem_takes_the_reference_from_earlier_tasks() -> None:
    made = AGEM(network(), SGD, per_class=2)
    first, second = toy_visit(0), toy_visit(1)
    made.begin_task(first)
    old, new = batch(first), batch(second)
    made.training_loss(old)
    assert made._reference is None
    made.begin_task(second)
    loss = made.training_loss(new)
    reference = torch.autograd.grad(
        F.cross_entropy(made(old.x, old.t), old.y), made._trained(), allow_unused=True
    )
    assert made._reference is not None
    torch.testing.assert_close(flat(made._reference), flat(list(reference)))
    loss.backward()
    given = [None if p.grad is None else p.grad.clone() for p in made._trained()]
    alike = parameters(given, made._trained())
    made.on_before_optimizer_step(None)
    project(alike, list(reference))
    found = flat([p.grad for p in made._trained()])
    torch.testing.assert_close(found, flat([p.grad for p in alike]))
