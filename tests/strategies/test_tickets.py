"""What both directions of tickets have in common."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from tests.strategies.top_down import lived, made


def test_masks_only_shrink() -> None:
    method = made(pruning=[[0.2]] * 3)
    masks = []
    prune = method._prune

    def watched(stage: Any, rate: float) -> None:
        prune(stage, rate)
        masks.append(method.masks.flat())

    method._prune = watched  # type: ignore[method-assign]
    lived(method, 3)
    assert len(masks) == 3
    for one, other in pairwise(masks):
        assert not (other & ~one).any()
        assert other.sum() < one.sum()
