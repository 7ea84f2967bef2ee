"""ER, A-GEM and EWC against plain steps (TAG spec, checks 9.8 to 9.10)."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lifelong.data import Batch, Visit
from lifelong.networks import MultiHead, Network, OutputMatrix, SingleHead
from lifelong.strategies import AGEM, ER, EWC
from lifelong.strategies.agem import project
from tests.conftest import small_body, toy_visit

SGD = partial(torch.optim.SGD, lr=0.1)


def network(heads: Any = MultiHead) -> Network:
    return Network(small_body(), heads)


def batch(visit: Visit, n: int = 6) -> Batch:
    """As many of each class, at random."""
    places = [torch.nonzero(visit.train.y == label)[:, 0] for label in range(3)]
    rows = [rows[torch.randperm(len(rows))[: n // 3]] for rows in places]
    return visit.train[torch.cat(rows)]


@pytest.mark.parametrize("fidelity", ["clean", "authors"])
def test_er_adds_the_loss_of_a_memory_batch_from_the_second_task_on(fidelity: Any) -> None:
    made = ER(network(), SGD, memory=6, fidelity=fidelity)
    first, second = toy_visit(0), toy_visit(1)
    made.begin_task(first)
    old, new = batch(first), batch(second)
    torch.testing.assert_close(made.training_loss(old), F.cross_entropy(made(old.x, old.t), old.y))
    made.begin_task(second)
    expected = F.cross_entropy(made(new.x, new.t), new.y)
    expected = expected + F.cross_entropy(made(old.x, old.t), old.y)  # all six are in the memory
    torch.testing.assert_close(made.training_loss(new), expected)


def test_er_of_the_authors_may_draw_images_of_the_current_task() -> None:
    for fidelity, allowed in (("clean", {0}), ("authors", {0, 1})):
        made = ER(network(), SGD, memory=40, fidelity=fidelity)  # type: ignore[arg-type]
        for visit in (toy_visit(0), toy_visit(1)):
            made.begin_task(visit)
            made.memory.add(batch(visit))
        drawn, _ = made.memory.sample(40, without=None if made.authors else 1)
        assert set(drawn.t.tolist()) == allowed


def parameters(gradients: list[Any], like: list[torch.Tensor]) -> list[torch.nn.Parameter]:
    """Parameters that have the gradients, of the shapes of others."""
    made = [torch.nn.Parameter(torch.zeros_like(tensor)) for tensor in like]
    for p, gradient in zip(made, gradients, strict=True):
        p.grad = gradient
    return made


def flat(gradients: list[Any]) -> torch.Tensor:
    return torch.cat([g.flatten() for g in gradients if g is not None])


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


def ewc(heads: Any = MultiHead, **options: Any) -> EWC:
    made = EWC(network(heads), SGD, **options)
    made.begin_task(toy_visit(0))
    return made


def test_ewc_adds_the_cut_gradient_of_the_penalty() -> None:
    for strength in (1.0, 1e6):
        made = ewc(strength=strength)
        made.end_task(toy_visit(0), [])  # type: ignore[arg-type]
        made.begin_task(toy_visit(1))
        named = made.regularized_params()
        for p in named.values():
            p.data.add_(0.1)
        data = batch(toy_visit(1))
        made.training_loss(data).backward()
        plain = {n: None if p.grad is None else p.grad.clone() for n, p in named.items()}
        made.on_before_optimizer_step(None)
        penalty = {
            n: 2 * strength * made.anchor.importance(n) * (p.detach() - made.anchor.weight(n))
            for n, p in named.items()
        }
        moved = [name for name in named if plain[name] is not None]
        assert 0 < len(moved) < len(named)  # the head of the other task stays as it is
        norm = flat([penalty[name] for name in moved]).norm()
        assert (norm > 100) == (strength > 1)
        for name in moved:
            cut = penalty[name] * min(1.0, 100 / float(norm))
            torch.testing.assert_close(named[name].grad, plain[name] + cut, rtol=1e-4, atol=1e-6)
        assert all(named[name].grad is None for name in named if name not in moved)


def test_ewc_adds_up_the_importance_of_tasks() -> None:
    made = ewc()
    made.end_task(toy_visit(0), [])  # type: ignore[arg-type]
    first = made.anchor.importance("body.0.weight").clone()
    assert first.any()
    made.end_task(toy_visit(0), [])  # type: ignore[arg-type]
    assert (made.anchor.importance("body.0.weight") >= first).all()
    assert made.training


def authors() -> EWC:
    return ewc(partial(OutputMatrix, outputs=12), fidelity="authors")


def test_ewc_of_the_authors_asks_under_the_columns_of_the_next_task() -> None:
    made, visit = authors(), toy_visit(0)
    made.samples = None
    made.end_task(visit, [])  # type: ignore[arg-type]
    data = visit.train[torch.arange(len(visit.train))]
    net: Any = made.network
    z = net.heads.output(net.body(data.x)).detach()
    z.requires_grad_()
    # softmax over columns 3 to 5, less one-hot of the true class, which lies outside
    wanted = torch.zeros_like(z)
    wanted[:, 3:6] = z[:, 3:6].softmax(1)
    wanted[torch.arange(len(z)), data.y] -= 1
    scores = net.heads.output(net.body(data.x))
    named = made.regularized_params()
    gradients = torch.autograd.grad(scores, list(named.values()), wanted / len(z))
    for name, gradient in zip(named, gradients, strict=True):
        expected = gradient.square() / 2  # F_1 = (0 + 1 G^2) / 2
        torch.testing.assert_close(made.anchor.importance(name), expected, rtol=1e-4, atol=1e-10)


def test_after_the_last_columns_the_authors_gather_nothing() -> None:
    made = ewc(partial(OutputMatrix, outputs=6), fidelity="authors")
    made.end_task(toy_visit(0), [])  # type: ignore[arg-type]
    name = next(iter(made.regularized_params()))
    before = made.anchor.importance(name).clone()
    made.begin_task(toy_visit(1))
    made.end_task(toy_visit(1), [])  # type: ignore[arg-type]
    assert torch.equal(made.anchor.importance(name), before)
    assert made.method["importances"].keys() == {"1"}


def test_recursion_of_the_authors() -> None:
    """F_3 = G1^2 / 24 + G2^2 / 6 + 3/4 G3^2."""
    made = authors()
    name, p = next(iter(made.regularized_params().items()))
    squares = [torch.rand_like(p) for _ in range(3)]
    for k, square in enumerate(squares):
        made.classes[k] = (0, 1, 2)
        made.accumulate_importance(name, square)
    expected = squares[0] / 24 + squares[1] / 6 + 0.75 * squares[2]
    torch.testing.assert_close(made.anchor.importance(name), expected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -1.0}, r"strategy\.strength=-1\.0"),
        ({"fidelity": "authors"}, "needs heads=matrix"),
    ],
)
def test_ewc_refuses(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ewc(**options)
