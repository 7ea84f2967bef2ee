"""Nested state as a file keeps it: each tensor once, and of sparse ones what is not zero."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

SPARSE = "_sparse"  # marks a tensor of which the entries that are not zero are kept
_SAME_SIZE = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes
PLAIN = (bool, int, float, complex, str, bytes, type(None), torch.dtype, torch.device)
LEAST = 1024  # entries of a tensor that is looked at
LOOKED_AT = 4096  # entries of a tensor, or all, before it is looked at as a whole
ZEROS = 1 / 8  # share of zeros from which on a tensor is smaller without them


def pack(state: Any) -> Any:
    """A copy of nested dicts, lists and tuples whose tensors take little room in a file.

    Tensors that are equal bit for bit share their memory, which `torch.save` then writes once; of a
    part of a larger tensor only that part is written. Numbers of NumPy become Python's.

    Raises:
        ValueError: a value of a kind that no file is read with, such as an array of NumPy.
    """
    return _packed(state, {}, ())


def _packed(state: Any, met: dict[Any, list[Tensor]], path: tuple[Any, ...]) -> Any:
    if isinstance(state, dict):
        return {key: _packed(value, met, (*path, key)) for key, value in state.items()}
    if isinstance(state, list | tuple) and not hasattr(state, "_fields"):
        parts = [_packed(value, met, (*path, place)) for place, value in enumerate(state)]
        return type(state)(parts)
    if not isinstance(state, Tensor):
        return _plain(state, path)
    tensor = _own(state.detach() if state.requires_grad else state)
    if tensor.numel() < LEAST or not tensor.is_floating_point():
        return tensor
    if _seems_full(tensor):
        return _once(tensor, met)
    kept = (tensor != 0) | tensor.signbit()
    if int(kept.sum()) <= (1 - ZEROS) * tensor.numel():
        bits = torch.from_numpy(np.packbits(kept.cpu().numpy()))
        strides = list(torch.empty_like(tensor, device="meta").stride())  # dense, in its order
        return {
            SPARSE: list(tensor.shape), "strides": strides, "bits": _once(bits, met),
            "values": _once(tensor[kept], met),
        }  # fmt: skip
    return _once(tensor, met)


def _plain(value: Any, path: tuple[Any, ...]) -> Any:
    value = value.item() if isinstance(value, np.generic) else value
    if not isinstance(value, PLAIN):
        raise ValueError(
            f"{'.'.join(map(str, path))}: a {type(value).__name__} cannot be kept in a "
            "checkpoint; give a tensor, or numbers and texts in lists and dicts"
        )
    return value


def _seems_full(tensor: Tensor) -> bool:
    """Whether some entries have hardly any zeros, so that the others need not be looked at."""
    if not tensor.is_contiguous():
        return False
    some = tensor.view(-1)[:: max(1, tensor.numel() // LOOKED_AT)]
    return int((some == 0).sum()) < ZEROS / 2 * len(some)


def _own(tensor: Tensor) -> Tensor:
    """The tensor, or a copy of it if it is a small part of what its memory holds."""
    if tensor.untyped_storage().nbytes() > 2 * tensor.nbytes:
        return tensor.clone(memory_format=torch.preserve_format)
    return tensor


def _once(tensor: Tensor, met: dict[Any, list[Tensor]]) -> Tensor:
    """The tensor, or one met before that equals it."""
    bits = tensor.view(_SAME_SIZE[tensor.element_size()])
    some = bits.flatten()[:: max(1, tensor.numel() // 16)].tolist()
    key = (tensor.dtype, tensor.device, tensor.shape, tensor.stride(), tuple(some))
    known = met.setdefault(key, [])
    for other in known:
        if torch.equal(other.view(bits.dtype), bits):
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
