"""What an object is made of, as one number: whether two are the same for the results of a run."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_OF_MODULES = vars(nn.Module()).keys() - {"_parameters", "_buffers", "_modules"}


def identity(*values: Any, start: int = 0) -> int:
    """A checksum of classes, attributes, tensors and functions, all the way down.

    It holds from one process to the next. Of a module neither its mode nor its hooks count; of a
    function its code counts, of a class its name alone.

    Args:
        values: whatever they are.
        start: to go on from.

    >>> identity(nn.ReLU()) == identity(nn.ReLU()), identity(lambda: 1) == identity(lambda: 2)
    (True, False)
    >>> identity(nn.Upsample(4, mode="nearest")) == identity(nn.Upsample(4, mode="bilinear"))
    False
    """
    walk = _Walk(start)
    for value in values:
        walk.take(value)
    return walk.sum


class _Walk:
    def __init__(self, start: int) -> None:
        self.sum = start
        self._met: dict[int, tuple[int, Any]] = {}  # objects, which may hold one another

    def take(self, value: Any) -> None:
        """Goes on with a value."""
        if id(value) in self._met:
            return self._text(f"again {self._met[id(value)][0]}")
        if value is None or isinstance(value, bool | int | float | complex | str | bytes):
            return self._text(repr(value))
        if not isinstance(value, type | tuple | CodeType):  # of which there may be several alike
            self._met[id(value)] = len(self._met), value
        return self._made(value)

    def _made(self, value: Any) -> None:
        if isinstance(value, Tensor):
            return self._numbers(value)
        if isinstance(value, np.ndarray):  # of numbers, or of whatever
            content = value.tolist() if value.dtype.hasobject else value.tobytes()
            return self.take((str(value.dtype), value.shape, content))
        if isinstance(value, type):
            return self._text(f"{value.__module__}.{value.__qualname__}")
        self.take(type(value))
        parts = _parts(value)
        if parts is None:
            shown = repr(value)
            return self._text(getattr(value, "__qualname__", "") if " at 0x" in shown else shown)
        for part in parts:
            self.take(part)
        return self._text("end")

    def _text(self, text: str) -> None:
        self.sum = zlib.crc32(f"{text};".encode(), self.sum)

    def _numbers(self, tensor: Tensor) -> None:
        self._text(f"{tensor.dtype} {tuple(tensor.shape)}")
        content = tensor.detach().cpu().contiguous().view(-1)
        if content.numel():
            self.sum = zlib.crc32(content.view(torch.uint8).numpy().data, self.sum)


def _of_function(value: FunctionType) -> list[Any]:
    cells = [cell.cell_contents for cell in value.__closure__ or ()]
    return [value.__module__, value.__code__, value.__defaults__, value.__kwdefaults__, cells]


_HOLD: list[tuple[tuple[type, ...], Callable[[Any], list[Any]]]] = [
    ((dict,), lambda value: [part for pair in value.items() for part in pair]),
    ((set, frozenset), lambda value: sorted(value, key=repr)),
    ((list, tuple), list),
    ((partial,), lambda value: [value.func, value.args, value.keywords]),
    ((MethodType,), lambda value: [value.__func__, value.__self__]),
    ((FunctionType,), _of_function),
    ((CodeType,), lambda value: [value.co_code, value.co_names, value.co_consts]),
]


def _parts(value: Any) -> list[Any] | None:
    """What an object holds; None for one that is told by its text."""
    for kinds, parts in _HOLD:
        if isinstance(value, kinds):
            return parts(value)
    attributes = getattr(value, "__dict__", None)
    if attributes is None:
        return None
    left = _OF_MODULES if isinstance(value, nn.Module) else ()
    return [part for pair in attributes.items() if pair[0] not in left for part in pair]
