"""The state of the generators that a network draws from, whatever it calls what draws."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

# Of PyTorch's generators on the CPU and the current GPU, NumPy's and Python's.
State = tuple[Tensor, Tensor | None, Any, Any]


def seed_all(seed: int) -> None:
    """Seeds PyTorch's generators, NumPy's and Python's, which a body or method may draw from."""
    torch.manual_seed(seed)
    seed_others(seed)


def seed_others(seed: int) -> None:
    """Seeds NumPy's and Python's."""
    np.random.seed(seed % 2**32)  # noqa: NPY002 (what others draw from)
    random.seed(seed)


def state() -> State:
    """As it stands."""
    gpu = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
    return torch.get_rng_state(), gpu, np.random.get_state(), random.getstate()  # noqa: NPY002


def put(back: State) -> None:
    """Brings a state back."""
    torch.set_rng_state(back[0])
    if back[1] is not None:
        torch.cuda.set_rng_state(back[1])
    np.random.set_state(back[2])  # noqa: NPY002
    random.setstate(back[3])


@contextmanager
def undisturbed() -> Iterator[None]:
    """Within, anything may be seeded and drawn; after it the generators are as before."""
    before = state()
    try:
        yield
    finally:
        put(before)


def drew(since: State) -> bool:
    """Whether anything was drawn since a state.

    >>> before = state()
    >>> drew(before), torch.rand(()).shape, drew(before)
    (False, torch.Size([]), True)
    """
    now = state()
    pairs = zip(since[:2], now[:2], strict=True)
    torchs = all(torch.equal(a, b) for a, b in pairs if a is not None and b is not None)
    numpys = all(np.array_equal(a, b) for a, b in zip(since[2], now[2], strict=True))
    return not (torchs and numpys and since[3] == now[3])
