"""LwF's loss and warm-up by hand."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lifelong.data import Batch
from lifelong.networks import IncrementalHead, MultiHead, OutputMatrix, SingleHead
from lifelong.strategies import LwF, Round, Strategy
from tests.conftest import execute, toy_visit
from tests.strategies.loops import batches, body_of, made, train
from tests.test_contract import FAST


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


def test_a_run_holds_statistics_still_while_it_warms_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = set()
    own = LwF.training_loss

    def noted(self: LwF, batch: Batch) -> torch.Tensor:
        norms = (m for m in self.network.body.modules() if isinstance(m, torch.nn.BatchNorm2d))
        seen.add((self._warming, *{norm.training for norm in norms}))
        return own(self, batch)

    monkeypatch.setattr(LwF, "training_loss", noted)
    body = ["backbone=timm", "backbone.name=test_resnet", "backbone.options={in_chans:1}"]
    options = [*FAST, "strategy=lwf", "strategy.warmup_epochs=1", "tasks=2", "epochs=1", *body]
    assert execute(tmp_path, *options) == 0
    assert seen == {(True, False), (False, True)}
