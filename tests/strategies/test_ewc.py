"""EWC against plain steps and loops, and sums over the tasks written out."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.data import Batch, Visit
from lifelong.networks import MultiHead, Network, OutputMatrix
from lifelong.parts.fisher import Fisher
from lifelong.strategies import EWC
from tests.conftest import small_body, toy_visit
from tests.strategies.loops import made
from tests.strategies.steps import batch, flat, network

SGD = partial(torch.optim.SGD, lr=0.1)


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


def test_online_ewc_forgets_what_it_gathered() -> None:
    strategy = made(EWC, decay=0.5)
    name = next(iter(strategy.regularized_params()))
    for value in (2.0, 4.0):
        strategy.accumulate_importance(
            name, torch.full_like(strategy.anchor.importance(name), value)
        )
    assert (strategy.anchor.importance(name) == 5).all()


def test_ewc_without_a_cut() -> None:
    for clip in (None, 100.0):
        strategy = made(EWC, clip=clip, strength=1.0)
        name, p = next(iter(strategy.regularized_params().items()))
        p.grad = torch.zeros_like(p)
        strategy.anchor.importance(name).fill_(1e6)
        strategy.anchor.weight(name).copy_(p.detach() - 1)
        strategy.add_penalty_gradient()
        if clip is None:
            torch.testing.assert_close(p.grad, torch.full_like(p, 2e6))
        else:
            assert p.grad.norm() == pytest.approx(100)


def test_ewc_refuses_values_out_of_range() -> None:
    for options, message in (
        ({"decay": 1.5}, "strategy.decay=1.5: give a share"),
        ({"clip": 0.0}, "strategy.clip=0.0: give a norm above 0"),
        (
            {"fidelity": "authors", "decay": 0.5},
            "has no strategy.mode=online or strategy.decay=0.5",
        ),
        (
            {"fidelity": "authors", "importance": Fisher(labels="sampled")},
            "fidelity=authors: has no strategy.importance.labels=sampled",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            made(EWC, partial(OutputMatrix, outputs=9), **options)


Named = dict[str, Tensor]


STRENGTH = 300.0


MOMENTUM = partial(torch.optim.SGD, lr=0.05, momentum=0.9)


NONE: Any = []  # instead of a loader that is not used


HEADS = [MultiHead, partial(OutputMatrix, outputs=9)]


def exact(heads: Any, **options: Any) -> EWC:
    torch.manual_seed(3)
    network, fisher = Network(small_body(), heads), Fisher(samples=None)
    return EWC(
        network, MOMENTUM, strength=STRENGTH, clip=None, importance=fisher, **options
    ).double()


def batch_of(visit: Visit, rows: Tensor) -> Batch:
    found = visit.train[rows]
    return found._replace(x=found.x.double())


def weights(method: EWC) -> Named:
    return {name: p.detach().clone() for name, p in method.network.named_parameters()}


def fisher(method: EWC, visit: Visit) -> Named:
    """Squared gradients of the images one by one, their mean."""
    named = dict(method.network.named_parameters())
    found = {name: torch.zeros_like(p) for name, p in named.items()}
    for row in torch.arange(len(visit.train)):
        image = batch_of(visit, row[None])
        loss = F.cross_entropy(method.network.logits(image.x, visit.task.index), image.y)
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            if gradient is not None:
                found[name] += gradient**2 / len(visit.train)
    return found


def wanted(
    method: EWC, batch: Batch, kept: list[tuple[Named, Named]], mode: str, decay: float
) -> dict[str, Tensor | None]:
    """The gradient of cross-entropy and penalty, by differentiating the sum over tasks."""
    named = dict(method.network.named_parameters())
    loss = F.cross_entropy(method.network.logits(batch.x, int(batch.t[0])), batch.y)
    plain = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    penalty = torch.zeros((), dtype=torch.double)
    for age, (anchors, importances) in enumerate(reversed(kept)):
        held = kept[-1][0] if mode == "online" else anchors
        for name, importance in importances.items():
            moved = named[name] - held[name]
            penalty = penalty + STRENGTH * decay**age * (importance * moved**2).sum()
    pulls: Any = [None] * len(named)
    if kept:
        pulls = torch.autograd.grad(penalty, list(named.values()), allow_unused=True)
    return {  # what the images do not move is not pulled either
        name: one if one is None or pull is None else one + pull
        for name, one, pull in zip(named, plain, pulls, strict=True)
    }


def learned(
    mode: Literal["online", "separate"], heads: Any, decay: float = 1.0
) -> tuple[EWC, list[tuple[Named, Named]], float]:
    """Three tasks learned, every gradient checked; with the largest penalty's share of one."""
    method, kept = exact(heads, mode=mode, decay=decay), list[tuple[Named, Named]]()
    largest = 0.0
    for index in range(3):
        visit = toy_visit(index, n=15)
        method.begin_task(visit)
        method.double()
        optimizer = method.configure_optimizers()["optimizer"]
        for number, rows in enumerate(torch.randperm(15).split(5)):
            batch = batch_of(visit, rows)
            expected = wanted(method, batch, kept, mode, decay)
            optimizer.zero_grad()
            method.training_loss(batch).backward()
            plain = {n: p.grad for n, p in method.network.named_parameters() if p.grad is not None}
            plain = {name: gradient.clone() for name, gradient in plain.items()}
            method.on_before_optimizer_step(None)
            for name, p in method.network.named_parameters():
                if expected[name] is None:
                    assert p.grad is None, name
                    continue
                torch.testing.assert_close(p.grad, expected[name], rtol=1e-12, atol=1e-12)
                largest = max(largest, float((p.grad - plain[name]).abs().max()))
            optimizer.step()
            method.on_train_batch_end(None, batch, number)
        method.eval()
        kept.append((weights(method), fisher(method, visit)))
        method.end_task(visit, NONE)
    return method, kept, largest


@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("decay", [1.0, 0.5])
@pytest.mark.parametrize("mode", ["separate", "online"])
def test_the_penalty_is_the_sum_over_tasks(mode: Any, heads: Any, decay: float) -> None:
    _, kept, largest = learned(mode, heads, decay)
    assert largest > 1e-3
    names = [name for name in kept[0][1] if name.startswith("body.")]
    for (before, _), (after, _) in pairwise(kept):  # the anchors differ
        assert any(not torch.equal(before[name], after[name]) for name in names)


def test_an_anchor_for_each_task_is_not_one_for_all() -> None:
    """From the third task on the two pull differently."""
    found = []
    for mode in ("online", "separate"):
        method, kept, _ = learned(mode, MultiHead)  # type: ignore[arg-type]
        for name, p in method.network.named_parameters():
            p.grad = torch.zeros_like(p)
            p.data.copy_(kept[-1][0][name])  # at the latest anchor one for all does not pull
        method.on_before_optimizer_step(None)
        found.append(max(float(p.grad.abs().max()) for p in method.network.parameters()))  # type: ignore[union-attr]
    assert found[0] == 0
    assert found[1] > 1e-4


def test_anchors_come_back_from_a_checkpoint() -> None:
    method, _, _ = learned("separate", MultiHead)
    again = exact(MultiHead, mode="separate")
    for index in range(3):
        again.begin_task(toy_visit(index, n=15))
    again.double().load_state_dict(method.state_dict())
    for one in (method, again):
        torch.manual_seed(5)
        for p in one.network.parameters():
            p.grad = torch.zeros_like(p)
            p.data.add_(0.1 * torch.randn_like(p))
        one.on_before_optimizer_step(None)
    for p, other in zip(method.network.parameters(), again.network.parameters(), strict=True):
        assert p.grad is not None
        assert torch.equal(p.grad, other.grad)
