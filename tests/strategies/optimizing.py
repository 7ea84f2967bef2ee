"""A small method and its optimizer."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from lifelong.networks import MultiHead, Network
from lifelong.strategies import Strategy
from tests.conftest import small_body, toy_visit


def strategy(make: Any, **options: Any) -> Strategy:
    made = Strategy(Network(small_body(), partial(MultiHead, hidden=[5])), make, **options)
    made.begin_task(toy_visit(0))
    return made


def optimizer_of(made: Strategy) -> torch.optim.Optimizer:
    optimizer: torch.optim.Optimizer = made.configure_optimizers()["optimizer"]
    return optimizer
