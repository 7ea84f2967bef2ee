"""Greedy nearest neighbours without replacement, against the definition (Tickets spec, 11.12)."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lifelong.parts import neighbours
from lifelong.parts.neighbours import nearest_without_replacement


def by_definition(anchors: Tensor, pool: Tensor, each: int, most: int) -> list[int]:
    taken: list[int] = []
    for anchor in anchors:
        order = (pool - anchor).square().sum(1).argsort().tolist()
        free = [index for index in order if index not in taken]
        taken += free[: min(each, most - len(taken))]
    return taken


@pytest.mark.parametrize(("each", "most"), [(1, None), (4, None), (7, 30), (40, None)])
@pytest.mark.parametrize("memory", [2**27, 4 * 60 * 3])
def test_equals_the_definition(
    each: int, most: int | None, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(neighbours, "MEMORY", memory)  # a few anchors at a time
    anchors, pool = torch.randn(11, 5, dtype=torch.double), torch.randn(60, 5, dtype=torch.double)
    found = nearest_without_replacement(anchors, pool, each, most).tolist()
    assert found == by_definition(anchors, pool, each, 60 if most is None else most)
    assert len(set(found)) == len(found) == min(11 * each, 60, most or 60)


def test_nothing_to_choose() -> None:
    assert not len(nearest_without_replacement(torch.zeros(0, 3), torch.randn(4, 3), 2))
