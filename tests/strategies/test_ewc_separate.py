"""EWC with an anchor for each task, and with one, against sums over the tasks written out."""

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

Named = dict[str, Tensor]
STRENGTH = 300.0
SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
NONE: Any = []  # instead of a loader that is not used
HEADS = [MultiHead, partial(OutputMatrix, outputs=9)]


def ewc(heads: Any, **options: Any) -> EWC:
    torch.manual_seed(3)
    network, fisher = Network(small_body(), heads), Fisher(samples=None)
    return EWC(network, SGD, strength=STRENGTH, clip=None, importance=fisher, **options).double()


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
    method, kept = ewc(heads, mode=mode, decay=decay), list[tuple[Named, Named]]()
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
    again = ewc(MultiHead, mode="separate")
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
