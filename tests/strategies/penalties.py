"""A small MAS, its importances, and a run that forgets."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from lifelong.networks import MultiHead, Network
from lifelong.strategies import MAS, Anchored
from tests.conftest import small_body, toy_visit

SGD = partial(torch.optim.SGD, lr=0.1)


def mas(**options: Any) -> MAS:
    torch.manual_seed(3)
    made = MAS(Network(small_body(), partial(MultiHead, dropout=0.5)), SGD, **options)
    made.begin_task(toy_visit(0))
    return made


def importances(made: Anchored) -> dict[str, Tensor]:
    return {name: made.anchor.importance(name).clone() for name in made.regularized_params()}


SMOKE = [
    "data=digits", "backbone=mlp", "heads=multi", "heads.init=uniform", "logger=none",
    "backbone.init=uniform", "epochs=20", "batch_size=32", "optimizer=sgd_momentum",
    "optimizer.momentum=0.9", "lr=0.05", "evaluate_every=0",
]  # fmt: skip
