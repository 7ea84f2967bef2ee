"""How many numbers a module has."""

from __future__ import annotations

from typing import Any

import torch


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def size(*tensors: Any) -> int:
    return sum(tensor.numel() for tensor in tensors)
