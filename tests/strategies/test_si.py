"""SI against a plain loop."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.strategies import SI
from tests.conftest import toy_visit
from tests.strategies.loops import batches, made, train

SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
NONE: Any = []  # instead of a loader that is not used


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
