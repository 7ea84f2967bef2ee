"""Copies of a network's tensors, to go back to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """A copy of parameters and buffers, by name."""
    found = network.state_dict().items()
    return {name: value.detach().clone() for name, value in found if torch.is_tensor(value)}


@torch.no_grad()
def put_back(network: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Makes the network what `tensors_of` gave; what that lacks stays."""
    for name, value in network.state_dict().items():
        if name in tensors and torch.is_tensor(value):
            value.copy_(tensors[name])


@contextmanager
def standing_in(network: nn.Module, tensors: Mapping[str, Tensor]) -> Iterator[None]:
    """Within, the network is what `tensors_of` gave."""
    own = tensors_of(network)
    put_back(network, tensors)
    try:
        yield
    finally:
        put_back(network, own)
