"""A body that is trained in the first visit alone."""

from __future__ import annotations

import pytest
import torch

from lifelong.strategies import FrozenBody
from tests.conftest import toy_visit
from tests.strategies.loops import batches, body_of, made, train


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


def test_first_layers_keep_still_and_the_others_go_on() -> None:
    strategy = made(FrozenBody, blocks=1)
    train(strategy, batches(0))
    learned = body_of(strategy)
    strategy.begin_task(toy_visit(1, number=2))
    strategy.double()
    strategy.train()
    train(strategy, batches(1))
    after = body_of(strategy)
    still = {
        name.split(".")[1] for name, value in learned.items() if torch.equal(value, after[name])
    }
    assert still == {"0"}
    with pytest.raises(ValueError, match=r"strategy.blocks=9: the body has \d blocks"):
        made(FrozenBody, blocks=9)
