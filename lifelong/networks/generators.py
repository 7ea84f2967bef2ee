"""The state of the generators that a network draws from, whatever it calls what draws."""

from __future__ import annotations

import torch
from torch import Tensor

State = tuple[Tensor, Tensor | None]  # of the CPU's and the current GPU's generator


def state() -> State:
    """As it stands."""
    gpu = torch.cuda.get_rng_state() if torch.cuda.is_initialized() else None
    return torch.get_rng_state(), gpu


def put(back: State) -> None:
    """Brings a state back."""
    torch.set_rng_state(back[0])
    if back[1] is not None:
        torch.cuda.set_rng_state(back[1])


def drew(since: State) -> bool:
    """Whether anything was drawn since a state.

    >>> before = state()
    >>> drew(before), torch.rand(()).shape, drew(before)
    (False, torch.Size([]), True)
    """
    now = state()
    pairs = [(a, b) for a, b in zip(since, now, strict=True) if a is not None and b is not None]
    return not all(torch.equal(a, b) for a, b in pairs)
