"""How much is pruned after each task of a stream: the notations of lifelong tickets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SHARE = 0.2  # that goes in a pruning
Pruning = Sequence[Sequence[float]] | Sequence[int]
PRESETS: dict[str, Pruning] = {
    "release": [1, 1, 2, 3, 5],
    "paper_cifar10": [1, 1, 3, 4, 5],
    "paper_cifar100": [[SHARE]] * 9 + [[SHARE, 0.1]],
}


def shares_of(pruning: str | Pruning) -> list[list[float]]:
    """For each visit the shares that go, see `lifelong.strategies.TicketsTD`.

    >>> shares_of("1,2")
    [[0.2], [0.2, 0.2]]

    Raises:
        ValueError: neither a preset, nor counts, nor shares.
    """
    given: Any = PRESETS.get(pruning, pruning) if isinstance(pruning, str) else pruning
    if isinstance(given, str):
        counts = given.replace(" ", "").split(",")
        if not all(count.isdigit() for count in counts):
            raise ValueError(
                f"strategy.pruning={pruning}: give {', '.join(PRESETS)}, how often 20 % go after "
                "each task, as [1,1,2,3,5], or lists of shares"
            )
        given = [int(count) for count in counts]
    rounds = [[SHARE] * rates if isinstance(rates, int) else list(rates) for rates in given]
    if any(not 0 <= rate < 1 for rates in rounds for rate in rates):
        raise ValueError(f"strategy.pruning={pruning}: give shares from 0 to below 1")
    return rounds
