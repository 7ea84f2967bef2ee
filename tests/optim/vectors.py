"""A parameter of given numbers."""

from __future__ import annotations

import torch


def vector(*values: float) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor(values, dtype=torch.double))
