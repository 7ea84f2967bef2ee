"""How much is pruned after each task, in every notation."""

from __future__ import annotations

from typing import Any

import pytest

from tests.strategies.top_down import made


@pytest.mark.parametrize(
    ("preset", "share"), [("release", 6.87), ("paper_cifar10", 4.40), ("paper_cifar100", 9.66)]
)
def test_what_is_left_at_the_end_of_a_preset(preset: str, share: float) -> None:
    left = 11_159_232
    for rates in made(pruning=preset).pruning:
        for rate in rates:
            left -= round(rate * left)
    assert round(100 * left / 11_159_232, 2) == share


@pytest.mark.parametrize(
    ("given", "rounds"),
    [("1,2", [1, 2]), ([1, 0, 2], [1, 0, 2]), ([[0.2], [0.2, 0.2]], [1, 2])],
)
def test_notations_of_pruning(given: Any, rounds: list[int]) -> None:
    assert made(pruning=given).pruning == [[0.2] * count for count in rounds]


@pytest.mark.parametrize("given", ["1;2", "half", [[1.5]]])
def test_refuses_other_notations(given: Any) -> None:
    with pytest.raises(ValueError, match=r"strategy\.pruning="):
        made(pruning=given)
