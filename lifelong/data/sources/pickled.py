"""Pickles of numbers, texts, lists and arrays, read without running anything that they ask for."""

from __future__ import annotations

import io
import pickle
from typing import Any


class _Plain(pickle.Unpickler):
    """Refuses every class and function but those that make arrays."""

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy.core.numeric", "_frombuffer"),
            ("numpy._core.numeric", "_frombuffer"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def unpickle(content: bytes) -> dict[str, Any]:
    """The dictionary in a pickle, also one that Python 2 wrote.

    Raises:
        ValueError: something else, or a pickle that asks for code.
    """
    try:
        loaded = _Plain(io.BytesIO(content), encoding="latin1").load()
    except (pickle.UnpicklingError, AttributeError, EOFError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(loaded, dict):
        raise ValueError("it is no dictionary")
    return loaded
