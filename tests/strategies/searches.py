"""Small searches for an architecture."""

from __future__ import annotations

from functools import partial
from typing import Any

from lifelong.optim import TensorFlowRMSProp
from lifelong.strategies import DARTS, LASEM
from lifelong.transfer import Pattern, every
from tests.conftest import small_body, toy_visit, transfer_network

OPTIMIZER = partial(TensorFlowRMSProp, lr=0.01)


def darts(kind: str = "hard", **options: Any) -> DARTS:
    made = DARTS(transfer_network(every, kind=kind), OPTIMIZER, **options)
    made.begin_task(toy_visit())
    return made


def lasem(pattern: Pattern = every, depth: int = 4, dropout: float = 0.0, **options: Any) -> LASEM:
    network = transfer_network(pattern, small_body(depth=depth), dropout)
    return LASEM(network, partial(TensorFlowRMSProp, lr=0.01), **options)
