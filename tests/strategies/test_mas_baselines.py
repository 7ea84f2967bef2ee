"""The baselines of MAS: SI, LwF, a frozen body, EWC's options, each against a plain loop."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.data import Batch
from lifelong.networks import IncrementalHead, MultiHead, Network, OutputMatrix, SingleHead
from lifelong.parts.fisher import Fisher
from lifelong.strategies import EWC, SI, FrozenBody, LwF, Round, Strategy
from tests.conftest import images, small_body, toy_visit

SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
NONE: Any = []  # instead of a loader that is not used


def made(method: Any, heads: Any = MultiHead, **options: Any) -> Any:
    torch.manual_seed(3)
    strategy = method(Network(small_body(), heads), SGD, **options)
    strategy.begin_task(toy_visit(0))
    return strategy.double()


def batches(task: int, count: int = 6) -> list[Batch]:
    data = images(8 * count, task=task)
    found = [data[rows] for rows in torch.arange(8 * count).split(8)]
    return [batch._replace(x=batch.x.double()) for batch in found]


def train(strategy: Strategy, data: list[Batch]) -> None:
    optimizer = strategy.configure_optimizers()["optimizer"]
    for number, batch in enumerate(data):
        optimizer.zero_grad()
        strategy.training_loss(batch).backward()
        strategy.on_before_optimizer_step(None)
        optimizer.step()
        strategy.on_train_batch_end(None, batch, number)


def body_of(strategy: Any) -> dict[str, Tensor]:
    return {n: p.detach().clone() for n, p in strategy.network.named_parameters() if "body" in n}


def test_si_against_a_plain_loop() -> None:
    """Two tasks: path integral of the gradient without the penalty, over actual moves."""
    strength, damping = 0.7, 0.1
    strategy = made(SI, strength=strength, damping=damping)
    plain = copy.deepcopy(strategy.network)
    omega = {name: torch.zeros_like(p) for name, p in plain.named_parameters() if "body" in name}
    anchor: dict[str, Tensor] = {}
    for task in (0, 1):
        data = batches(task)
        if task == 1:
            strategy.begin_task(toy_visit(1))
            strategy.double()
            plain.heads = copy.deepcopy(strategy.network.heads)  # with the new one
        named = dict(plain.named_parameters())
        start = {name: named[name].detach().clone() for name in omega}
        path = {name: torch.zeros_like(value) for name, value in omega.items()}
        optimizer = SGD(plain.parameters())
        for batch in data:
            optimizer.zero_grad()
            F.cross_entropy(plain(batch.x, batch.t), batch.y).backward()
            free = {name: named[name].grad.clone() for name in omega}
            for name, held in anchor.items():
                named[name].grad += 2 * strength * omega[name] * (named[name].detach() - held)
            before = {name: named[name].detach().clone() for name in omega}
            optimizer.step()
            for name in omega:
                path[name] -= free[name] * (named[name].detach() - before[name])
        train(strategy, data)
        for name in omega:
            move = named[name].detach() - start[name]
            omega[name] = omega[name] + (path[name] / (move**2 + damping)).clamp(min=0)
            anchor[name] = named[name].detach().clone()
            torch.testing.assert_close(dict(strategy.network.named_parameters())[name], named[name])
        strategy.end_task(toy_visit(task), NONE)
        for name, expected in omega.items():
            torch.testing.assert_close(strategy.anchor.importance(name), expected)
    assert any(value.any() for value in omega.values())


def test_si_refuses() -> None:
    with pytest.raises(ValueError, match=r"strategy\.damping=0: give a number above 0"):
        made(SI, damping=0)


@pytest.mark.parametrize("heads", [MultiHead, partial(OutputMatrix, outputs=9)])
@pytest.mark.parametrize(
    ("weighting", "own", "each"), [("sum", 1.0, 1.5), ("average", 1 / 3, 1.5 * (1 - 1 / 3) / 2)]
)
def test_lwf_loss_by_hand(heads: Any, weighting: str, own: float, each: float) -> None:
    """Cross-entropy, and for each earlier head that of softened scores before and now."""
    strategy = made(LwF, heads, strength=1.5, temperature=2.0, weighting=weighting)
    train(strategy, batches(0))
    strategy.begin_task(toy_visit(1))
    strategy.double()
    train(strategy, batches(1))
    strategy.begin_task(toy_visit(2))
    strategy.double()
    before = copy.deepcopy(strategy.network)
    (batch,) = batches(2, 1)
    train(strategy, batches(2, 3))
    network, x = strategy.network, batch.x
    expected = own * F.cross_entropy(network.logits(x, 2), batch.y)
    for task in (0, 1):
        wanted = (before.logits(x, task) / 2).softmax(1)
        given = (network.logits(x, task) / 2).softmax(1)
        expected = expected - each * (wanted * given.log()).sum(1).mean()
    torch.testing.assert_close(strategy.training_loss(batch), expected)
    names = [name for name, p in strategy.named_parameters() if p.requires_grad]
    assert not any("teacher" in name for name in names)
    strategy.train()
    assert not strategy.teacher.training


def test_lwf_over_new_classes_too() -> None:
    """The former network gives them probability 0; the softmax of this one has them."""
    strategy = made(LwF, IncrementalHead, new_classes=True)
    for task in range(3):
        strategy.begin_task(toy_visit(task))
        strategy.double()
        before = copy.deepcopy(strategy.network)
        train(strategy, batches(task, 3))
    (batch,) = batches(2, 1)
    old = sum(len(toy_visit(task).task.classes) for task in (0, 1))
    wanted, given = (
        (net.heads.scores(net.body(batch.x)) / 2) for net in (before, strategy.network)
    )
    assert given.shape[1] > old
    wanted = wanted[:, :old].softmax(1)
    expected = F.cross_entropy(strategy.network.logits(batch.x, 2), batch.y)
    expected = expected - (wanted * given.log_softmax(1)[:, :old]).sum(1).mean()
    torch.testing.assert_close(strategy.training_loss(batch), expected)
    with pytest.raises(ValueError, match="new_classes=true: each task has a head of its own"):
        made(LwF, new_classes=True)


def test_lwf_without_strength_or_in_the_first_task_is_fine_tuning() -> None:
    for strength, tasks in ((0.0, 2), (5.0, 1)):
        found = []
        for method in (partial(LwF, strength=strength), Strategy):
            strategy = made(method)
            for task in range(tasks):
                torch.manual_seed(task)
                strategy.begin_task(toy_visit(task))
                strategy.double()
                train(strategy, batches(task))
            found.append(body_of(strategy))
        for name, value in found[0].items():
            assert torch.equal(value, found[1][name])


def test_lwf_warms_the_new_head_up_alone() -> None:
    strategy = made(LwF, warmup_epochs=2)
    assert list(strategy.rounds(toy_visit(0))) == [Round()]
    strategy.begin_task(toy_visit(1))
    strategy.double()
    rounds = strategy.rounds(toy_visit(1))
    assert next(rounds) == Round("warm-up", 2)
    strategy.scheduled = 2
    strategy.train()
    assert not strategy.network.body.training
    before = {name: p.detach().clone() for name, p in strategy.network.named_parameters()}
    train(strategy, batches(1))
    for name, p in strategy.network.named_parameters():
        assert torch.equal(p, before[name]) != name.startswith("heads.all.1"), name
    assert rounds.send({}) == Round()
    assert strategy.scheduled == 0  # the schedule goes on from where the task began
    assert all(p.requires_grad for p in strategy.network.parameters())


def test_lwf_refuses() -> None:
    for options, heads, message in (
        ({"temperature": 0.0}, MultiHead, "strategy.temperature=0.0 must be above 0"),
        ({"strength": -1.0}, MultiHead, "strategy.strength=-1.0"),
        ({"warmup_epochs": 1}, SingleHead, "strategy.warmup_epochs=1: one head or output matrix"),
    ):
        with pytest.raises(ValueError, match=message):
            made(LwF, heads, **options)


def test_a_frozen_body_keeps_still_after_the_first_visit() -> None:
    strategy = made(FrozenBody)
    start = body_of(strategy)
    train(strategy, batches(0))
    learned = body_of(strategy)
    assert all(not torch.equal(value, start[name]) for name, value in learned.items())
    for step, task in ((1, 1), (2, 0)):
        strategy.begin_task(toy_visit(task, number=step + 1))
        strategy.double()
        strategy.train()
        assert not strategy.network.body.training
        heads = [p.detach().clone() for p in strategy.network.heads.head_for(task).parameters()]
        train(strategy, batches(task))
        after = body_of(strategy)
        assert all(torch.equal(value, after[name]) for name, value in learned.items())
        changed = strategy.network.heads.head_for(task).parameters()
        assert all(not torch.equal(a, b) for a, b in zip(heads, changed, strict=True))


@pytest.mark.parametrize("labels", ["given", "predicted", "sampled"])
def test_ewc_labels_one_image_at_a_time(labels: str) -> None:
    strategy = made(EWC, importance=Fisher(labels=labels, samples=None))
    strategy.eval()
    visit = toy_visit(0, n=9)
    for part in (visit.train, visit.task.val, visit.task.test):
        part.x, part.scale, part.shift = part.x.double(), part.scale.double(), part.shift.double()
    torch.manual_seed(8)
    order = torch.randperm(len(visit.train))
    batch = visit.train[order]
    scores = strategy.network.logits(batch.x.to(torch.double), 0)
    drawn = torch.multinomial(scores.softmax(1), 1)[:, 0]
    y = {"given": batch.y, "predicted": scores.argmax(1), "sampled": drawn}[labels]
    name, p = next(iter(strategy.regularized_params().items()))
    expected = torch.zeros_like(p)
    for image, label in zip(batch.x, y, strict=True):
        loss = F.cross_entropy(strategy.network.logits(image[None].double(), 0), label[None])
        expected += torch.autograd.grad(loss, p)[0] ** 2 / len(y)
    torch.manual_seed(8)
    strategy.float().double()
    found = strategy.importance_of(visit)[name]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)


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


def test_ewc_refuses() -> None:
    for options, message in (
        ({"decay": 1.5}, "strategy.decay=1.5: give a share"),
        ({"clip": 0.0}, "strategy.clip=0.0: give a norm above 0"),
        ({"fidelity": "authors", "decay": 0.5}, "fidelity=authors: has no strategy.importance"),
    ):
        with pytest.raises(ValueError, match=message):
            made(EWC, partial(OutputMatrix, outputs=9), **options)


def test_ewc_of_the_survey_squares_sums() -> None:
    strategy = made(EWC, importance=Fisher(estimator="batched", batch_size=5, samples=None)).float()
    strategy.eval()
    visit = toy_visit(0, n=9)
    name, p = next(iter(strategy.regularized_params().items()))
    torch.manual_seed(4)
    order = torch.randperm(9)
    expected = torch.zeros_like(p)
    for rows in order.split(5):
        batch = visit.train[rows]
        loss = F.cross_entropy(strategy.network.logits(batch.x, 0), batch.y, reduction="sum")
        expected += torch.autograd.grad(loss, p)[0] ** 2 / 9
    torch.manual_seed(4)
    torch.testing.assert_close(strategy.importance_of(visit)[name], expected)
