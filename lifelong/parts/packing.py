"""Nested state as a file keeps it: each tensor once, and of sparse ones what is not zero."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

SPARSE = "_sparse"  # marks a tensor of which the entries that are not zero are kept
LEAST = 1024  # entries of a tensor that is looked at
ZEROS = 1 / 8  # share of zeros from which on a tensor is smaller without them


def pack(state: Any) -> Any:
    """A copy of nested dicts, lists and tuples whose tensors take little room in a file.

    Tensors that are equal share their memory, which `torch.save` then writes once.
    """
    return _packed(state, {})


def _packed(state: Any, met: dict[Any, list[Tensor]]) -> Any:
    if isinstance(state, dict):
        return {key: _packed(value, met) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_packed(value, met) for value in state)
    if not isinstance(state, Tensor) or state.numel() < LEAST or not state.is_floating_point():
        return state
    tensor = state.detach()
    kept = tensor != 0
    if int(kept.sum()) <= (1 - ZEROS) * tensor.numel():
        bits = np.packbits(kept.cpu().numpy())
        values = _once(tensor[kept], met)
        strides = list(torch.empty_like(tensor, device="meta").stride())  # dense, in its order
        layout = {SPARSE: list(tensor.shape), "strides": strides}
        return layout | {"bits": torch.from_numpy(bits), "values": values}
    return _once(tensor, met)


def _once(tensor: Tensor, met: dict[Any, list[Tensor]]) -> Tensor:
    """The tensor, or one met before that equals it."""
    some = tensor.flatten()[:: max(1, tensor.numel() // 16)].tolist()
    key = (tensor.dtype, tensor.device, tensor.shape, tensor.stride(), tuple(some))
    known = met.setdefault(key, [])
    for other in known:
        if torch.equal(other, tensor):
            return other
    known.append(tensor)
    return tensor


def unpack(state: Any) -> Any:
    """The reverse of `pack`: every tensor in its own memory again, laid out as it was."""
    return _unpacked(state, set())


def _unpacked(state: Any, met: set[int]) -> Any:
    if isinstance(state, dict):
        if SPARSE in state:
            return _dense(state)
        return {key: _unpacked(value, met) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return type(state)(_unpacked(value, met) for value in state)
    if not isinstance(state, Tensor):
        return state
    place = state.untyped_storage().data_ptr()
    if place in met:  # who changes one of equal tensors in place must not change the others
        return state.clone(memory_format=torch.preserve_format)
    met.add(place)
    return state


def _dense(state: dict[str, Any]) -> Tensor:
    shape, values = state[SPARSE], state["values"]
    bits = np.unpackbits(state["bits"].cpu().numpy(), count=math.prod(shape)).astype(bool)
    kept = torch.from_numpy(bits).view(shape).to(values.device)
    whole = torch.empty_strided(shape, state["strides"], dtype=values.dtype, device=values.device)
    whole.zero_()[kept] = values
    return whole
