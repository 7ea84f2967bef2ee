"""Pickles that hold arrays of numbers, and those that hold more."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifelong.data.sources import mini_imagenet
from lifelong.data.sources.pickled import unpickle
from tests.data.small_files import drawn


class Pickled:
    """Pickles as what a recipe makes."""

    def __init__(self, *recipe: Any) -> None:
        self.recipe = recipe

    def __reduce__(self) -> Any:
        return self.recipe


@pytest.mark.parametrize("code", ["V8", "O8", "U1", "M8", "O", "u"])
def test_a_pickle_may_hold_arrays_of_numbers_alone(code: str) -> None:
    """Such as arrays of object pointers, whose flags could deny that they are."""
    content = {"data": Pickled(np.dtype, (code,), (3, "|", None, None, None, 8, 1, 0))}
    with pytest.raises(ValueError, match="it asks for arrays of"):
        unpickle(pickle.dumps(content, protocol=2))


def test_what_numpy_would_make_of_a_type_does_not_matter() -> None:
    """Fields of objects within a plain type are not looked at."""
    fields = (3, "|", None, ("f",), {"f": (0, 0)}, 8, 1, 0)
    array = Pickled(np.ndarray, ((1,), Pickled(np.dtype, ("u1",), fields), b"A"))
    found = unpickle(pickle.dumps({"data": array}, protocol=2))["data"]
    assert np.asarray(found).size == 0  # arrays are made by their state alone


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_of_numbers_come_back(protocol: int) -> None:
    arrays = {
        "bytes": drawn(3, 4), "numbers": np.arange(6).reshape(2, 3), "none": np.empty((0, 2)),
        "turned": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "big": np.arange(3, dtype=">i4"),
    }  # fmt: skip
    found = unpickle(pickle.dumps(arrays, protocol=protocol))
    for name, array in arrays.items():
        assert np.array_equal(np.asarray(found[name]), array)
        assert np.array_equal(np.asarray(found[name], dtype=np.int64), array.astype(np.int64))


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (print, ("run",))

    path = tmp_path / "mini-imagenet-cache-train.pkl"
    path.write_bytes(pickle.dumps({"image_data": Evil(), "class_dict": {}}))
    with pytest.raises(ValueError, match=r"not a readable pickle \(it asks for builtins.print"):
        mini_imagenet(tmp_path)
