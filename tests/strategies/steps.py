"""A small network, batches of a visit, and gradients as one vector."""

from __future__ import annotations

from typing import Any

import torch

from lifelong.data import Batch, Visit
from lifelong.networks import MultiHead, Network
from tests.conftest import small_body


def network(heads: Any = MultiHead) -> Network:
    return Network(small_body(), heads)


def batch(visit: Visit, n: int = 6) -> Batch:
    """As many of each class, at random."""
    places = [torch.nonzero(visit.train.y == label)[:, 0] for label in range(3)]
    rows = [rows[torch.randperm(len(rows))[: n // 3]] for rows in places]
    return visit.train[torch.cat(rows)]


def flat(gradients: list[Any]) -> torch.Tensor:
    return torch.cat([g.flatten() for g in gradients if g is not None])
