"""ER against plain steps (TAG spec, check 9.8)."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lifelong.networks import MultiHead, Network
from lifelong.parts.memory import Balanced
from lifelong.strategies import DERPP, ER, ERACE, MIR
from tests.conftest import toy_visit
from tests.strategies.steps import batch, network

SGD = partial(torch.optim.SGD, lr=0.1)


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


REHEARSING = [ER, ERACE, MIR, DERPP]


class Normed(nn.Module):
    """A body whose batch-norm sees what passes it together."""

    features = 3

    def __init__(self, noise: Any = torch.clone, norm: bool = True) -> None:
        super().__init__()
        self.linear, self.noise = nn.Linear(72, 3), noise
        self.norm: nn.Module = nn.BatchNorm1d(3, momentum=1.0) if norm else nn.Identity()
        self.sizes: list[int] = []
        self.seen = torch.zeros(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():  # no trial
            self.sizes.append(len(x))
        self.seen = x.flatten(1).to(self.linear.weight.dtype)
        found: torch.Tensor = self.noise(self.norm(self.linear(self.seen)))
        return found


def second_step(kind: Any, body: Any, **options: Any) -> tuple[Any, torch.Tensor]:
    """A method in its second task, and the loss of a batch there with all gradients in place."""
    torch.manual_seed(3)
    made = kind(Network(body, MultiHead), SGD, memory=6, **options)
    made.begin_task(toy_visit(0))
    made.training_loss(batch(toy_visit(0)))
    made.begin_task(toy_visit(1))
    torch.manual_seed(5)
    loss = made.training_loss(batch(toy_visit(1)))
    loss.backward()
    return made, loss


@pytest.mark.parametrize("kind", REHEARSING)
def test_one_pass_over_batch_and_memory_is_that_of_each(kind: Any) -> None:
    calls = {}
    for joint in (None, False):
        torch.set_default_dtype(torch.float64)
        try:
            made, loss = second_step(kind, partial(Normed, norm=False), joint_batch=joint)
        finally:
            torch.set_default_dtype(torch.float32)
        calls[joint] = (made.network.body.sizes, loss, [p.grad for p in made.parameters()])
    (joined, one, slopes), (each, other, singles) = calls[None], calls[False]
    assert len(joined) < len(each)
    assert sum(joined) == sum(each)
    torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)
    for slope, single in zip(slopes, singles, strict=True):
        torch.testing.assert_close(slope, single, rtol=1e-10, atol=1e-12)


def noisy(x: torch.Tensor) -> torch.Tensor:
    return x + torch.randn_like(x)


def centred(x: torch.Tensor) -> torch.Tensor:
    """As a norm of one's own, of which no class and no buffer tells."""
    return x - x.mean(0)


@pytest.mark.parametrize(
    "body",
    [
        Normed,
        partial(Normed, noise=nn.Dropout(0.5), norm=False),
        partial(Normed, noise=noisy, norm=False),
        partial(Normed, noise=centred, norm=False),
    ],
)
def test_batch_norm_and_dropout_see_batch_and_memory_apart_unless_asked(body: Any) -> None:
    for joint, sizes in ((None, [6, 6]), (False, [6, 6]), (True, [12])):
        made, loss = second_step(ER, body, joint_batch=joint)
        assert made.network.body.sizes[-len(sizes) :] == sizes
        if joint is False:
            assert torch.equal(loss, second_step(ER, body)[1])  # what was tried has left no trace


def test_batch_norm_over_both_has_the_mean_of_both() -> None:
    body = second_step(ER, Normed, joint_batch=True)[0].network.body
    assert len(body.seen) == 12
    torch.testing.assert_close(body.norm.running_mean, body.linear(body.seen).mean(0).detach())


def test_a_balanced_memory_keeps_as_many_of_each_class() -> None:
    made = ER(network(), SGD, memory=12, balanced=True)
    assert isinstance(made.memory, Balanced)
    for visit in (toy_visit(0), toy_visit(1)):
        made.begin_task(visit)
        for _ in range(6):
            made.memory.add(batch(visit))
    kept = made.memory.kept()
    counts = torch.stack([kept.t, kept.y]).unique(dim=1, return_counts=True)[1]
    assert counts.tolist() == [2] * 6
