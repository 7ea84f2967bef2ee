"""A small top-down method, and rounds of it."""

from __future__ import annotations

from functools import partial
from itertools import islice
from typing import Any

import torch

from lifelong.data import TaskStream, Visit
from lifelong.networks import MultiHead, TwoBranchNetwork
from lifelong.strategies import Round, TicketsTD
from tests.conftest import small_body, toy_task, toy_visit

SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=0.01)
NONE: Any = []  # instead of a loader that is not used


def made(**options: Any) -> TicketsTD:
    torch.manual_seed(3)
    values = {"batch_size": 48, "memory": 4, "unlabeled": "exemplars"} | options
    return TicketsTD(TwoBranchNetwork(small_body(), MultiHead), SGD, **values)


def train(method: TicketsTD, visit: Visit, now: Round, steps: int = 3) -> None:
    """A few steps of a round, as Lightning would take them."""
    tasks = [*(toy_task(index) for index in range(visit.task.index)), visit.task]
    stream = TaskStream(tasks, name="toy", batch_size=6)
    images = now.train() if callable(now.train) else now.train
    stream.serve(visit, images, feeds=now.feeds)
    method.on_train_epoch_start()
    optimizer = method.configure_optimizers()["optimizer"]
    for number, batch in enumerate(islice(stream.train_dataloader(), steps)):
        optimizer.zero_grad()
        method.training_step(batch, number).backward()
        method.on_before_optimizer_step(None)
        optimizer.step()
        method.on_train_batch_end(None, batch, number)
    method.on_train_end()


def lived(method: TicketsTD, count: int) -> list[list[Round]]:
    """The rounds of so many tasks, each trained a little; checks that masked weights stay zero."""
    seen = []
    for index in range(count):
        visit = toy_visit(index, last=index == count - 1)
        method.begin_task(visit)
        seen.append([])
        for now in method.rounds(visit):
            train(method, visit, now)
            seen[-1].append(now)
            for name, p in method.prunable().items():
                assert not p.detach()[~method.masks.keep[name]].any()
        method.end_task(visit, NONE)
    return seen
