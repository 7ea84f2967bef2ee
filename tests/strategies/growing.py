"""A small network that grows, and DEN on it."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from lifelong.networks import ExpandableNetwork, MultiHead
from lifelong.strategies import DEN
from tests.conftest import small_body, toy_visit


def network(hidden: tuple[int, ...] = (5,), tasks: int = 1) -> ExpandableNetwork:
    made = ExpandableNetwork(small_body(), partial(MultiHead, hidden=hidden))
    for task in range(tasks):
        made.add_task(task, range(3))
    return made


def den(**options: Any) -> DEN:
    made = DEN(network(tasks=0), partial(torch.optim.SGD, lr=0.1), epochs=20, **options)
    made.begin_task(toy_visit(0))
    made.network.stamps[0] = made.network.widths
    made.begin_task(toy_visit(1))
    return made
