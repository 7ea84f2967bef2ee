"""Hsu et al.'s rows on Split-MNIST: one optimizer and one output matrix for all tasks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hydra.utils import instantiate

from lifelong.configuration.complete import complete
from lifelong.configuration.members import members
from lifelong.configuration.options import check_options
from lifelong.data import Batch, Images, Task, Visit
from lifelong.networks import OutputMatrix
from tests.conftest import configured

ROWS = ["adagrad", "adam", "l2", "ewc", "online_ewc", "si", "mas", "mas_exact"]
OTHERS = ["joint", "lwf", "sgd", "mas_demo", "mas_demo_recompute"]
NONE: Any = []  # instead of a loader that is not used


def test_every_row_is_one_or_the_other() -> None:
    known = {name for name in members("experiment") if name.startswith("mas/mnist_")}
    assert known == {f"mas/mnist_{row}" for row in (*ROWS, *OTHERS)}


def visit_of(index: int) -> Visit:
    """Two classes of padded images, 6 of each."""
    parts = []
    for _ in range(3):
        y = torch.arange(12) % 2
        x = torch.rand(12, 1, 32, 32) + y.view(-1, 1, 1, 1)
        parts.append(Images(x, y, torch.full((12,), index)))
    return Visit(index + 1, Task(index, "", (2 * index, 2 * index + 1), *parts), False)


def step(method: Any, batch: Batch, number: int = 0) -> None:
    """A step as Lightning takes it."""
    method.training_loss(batch).backward()
    method.on_before_optimizer_step(None)
    method._optimizer.step()
    method.on_train_batch_end(None, batch, number)


@pytest.mark.parametrize("row", ROWS)
def test_other_heads_have_gradients_of_zero_and_move_by_what_is_left(row: str) -> None:
    config = configured(f"experiment=mas/mnist_{row}")
    complete(config)
    check_options(config)
    assert config.optimizer_lifetime == "stream"
    assert [len(classes) for classes in config.data.classes] == [2] * 5
    torch.manual_seed(1)
    method = instantiate(config.strategy, _convert_="all")
    method.lifetime = config.optimizer_lifetime
    assert "optimizer_lifetime" not in method.refuses
    heads = method.network.heads
    assert isinstance(heads, OutputMatrix)
    assert heads.output.weight.shape == (10, 400)
    optimizers = []
    for index in (0, 1):
        visit = visit_of(index)
        method.begin_task(visit)
        optimizers.append(method.configure_optimizers()["optimizer"])
        own = torch.zeros(10, dtype=torch.bool)
        own[2 * index : 2 * index + 2] = True
        earlier = torch.arange(10) < 2 * index
        batch = visit.train[torch.arange(12)]
        method._optimizer.zero_grad()
        method.training_loss(batch).backward()
        for p in heads.output.parameters():
            assert p.grad is not None
            assert p.grad.shape[0] == 10
            assert p.grad[own].abs().sum() > 0
            assert not p.grad[~own].any()
        before = [p.detach().clone() for p in heads.output.parameters()]
        for number in range(3):
            method._optimizer.zero_grad()
            step(method, batch, number)
        for p, old in zip(heads.output.parameters(), before, strict=True):
            assert (p[own] != old[own]).any()
            assert torch.equal(p[2 * index + 2 :], old[2 * index + 2 :])  # of tasks to come
            adam = config.optimizer._target_.endswith("Adam")  # whose moments go on
            assert bool((p[earlier] != old[earlier]).any()) == (adam and index > 0)
        method.end_task(visit, NONE)
    assert optimizers[0] is optimizers[1]


@pytest.mark.parametrize("row", OTHERS)
def test_the_other_rows_have_heads_of_their_own(row: str) -> None:
    config = configured(f"experiment=mas/mnist_{row}")
    assert config.optimizer_lifetime == "task"
    assert config.multi_head == "lifelong.networks.MultiHead"
