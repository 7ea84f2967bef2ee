"""Methods in double precision, trained by a plain loop."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from lifelong.data import Batch
from lifelong.networks import MultiHead, Network
from lifelong.strategies import Strategy
from tests.conftest import images, small_body, toy_visit

SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)


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
