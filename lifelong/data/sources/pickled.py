"""Pickles of numbers, texts, lists and arrays, read without running anything that they ask for."""

from __future__ import annotations

import io
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_CODES = frozenset("uif")  # kinds of entries: whole numbers and fractions


class _Type:
    """Stands for a numpy dtype; only plain numbers."""

    def __init__(self, code: str, *_: Any) -> None:
        if not isinstance(code, str) or code[:1] not in _CODES or not code[1:].isdigit():
            raise pickle.UnpicklingError(f"it asks for arrays of {code!r}")
        self.code, self.order = code, "|"

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]
        if self.order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError(f"it asks for the byte order {self.order!r}")


class _Array:
    """Stands for a numpy array, which it is made into by `numpy.asarray`."""

    def __init__(self, *_: Any) -> None:
        self.values: NDArray[Any] = np.empty(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, kind, fortran, content = state
        self._fill(content, kind, shape, "F" if fortran else "C")

    def _fill(self, content: Any, kind: Any, shape: Any, order: Any) -> None:
        if not isinstance(kind, _Type):
            raise pickle.UnpicklingError("an array without a type of numbers")
        raw = content.encode("latin1") if isinstance(content, str) else bytes(content)
        values = np.frombuffer(raw, np.dtype(kind.order.replace("|", "") + kind.code))
        self.values = values.reshape(shape, order=order)

    @classmethod
    def of_buffer(cls, content: Any, kind: Any, shape: Any, order: Any) -> _Array:
        made = cls()
        made._fill(content, kind, shape, order)
        return made

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        return self.values if dtype is None else self.values.astype(dtype)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """How Python 3 writes bytes for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it asks for the encoding {encoding}")
    return text.encode("latin1")


def _no_bytes() -> bytes:
    """How Python 3 writes empty bytes for Python 2."""
    return b""


class _Plain(pickle.Unpickler):
    """Refuses every class and function but those that make arrays, and makes those itself."""

    KNOWN: dict[tuple[str, str], Any] = {  # noqa: RUF012 (never changed)
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy.core.numeric", "_frombuffer"): _Array.of_buffer,
        ("numpy._core.numeric", "_frombuffer"): _Array.of_buffer,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Type,
        ("_codecs", "encode"): _encode,
        ("__builtin__", "bytes"): _no_bytes,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.KNOWN:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self.KNOWN[module, name]


def unpickle(content: bytes) -> dict[str, Any]:
    """The dictionary in a pickle, also one that Python 2 wrote.

    Its arrays are objects that `numpy.asarray` makes into arrays of numbers.

    Raises:
        ValueError: something else, or a pickle that asks for code.
    """
    try:
        loaded = _Plain(io.BytesIO(content), encoding="latin1").load()
    except (pickle.UnpicklingError, AttributeError, EOFError, IndexError, TypeError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(loaded, dict):
        raise ValueError("it is no dictionary")
    return loaded


def by_label(path: Path, shape: Sequence[int]) -> dict[int, NDArray[np.uint8]]:
    """The images of each label in a pickle {label: uint8 (n, h, w, c)}, as (n, c, h, w).

    Args:
        path: the pickle, which is read without running anything.
        shape: (c, h, w) of an image.

    Raises:
        ValueError: another content.
    """
    try:
        content = unpickle(path.read_bytes())
        return {int(label): images_of(value, shape) for label, value in content.items()}
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"{path}: not a pickle of images by label ({error})") from None


def images_of(values: Any, shape: Sequence[int]) -> NDArray[np.uint8]:
    """An array of a pickle, (n, h, w, c) or flat, as uint8 (n, c, h, w).

    Raises:
        ValueError: no uint8 images of that shape.
    """
    channels, height, width = shape
    found = np.asarray(values)
    if found.dtype != np.uint8 or found.size % (channels * height * width):
        raise ValueError(
            f"it holds {found.dtype} of shape {list(found.shape)}; wanted are uint8 images of "
            f"[n, {height}, {width}, {channels}]"
        )
    return found.reshape(-1, height, width, channels).transpose(0, 3, 1, 2)
