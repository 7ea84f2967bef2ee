"""Learning-rate schedules: the factor on the base rate in an epoch.

The epoch is counted over the whole stream from 0, never reset at a task's begin.
"""

from __future__ import annotations

from collections.abc import Callable

Schedule = Callable[[int], float]


def constant(epoch: int) -> float:
    """The base rate throughout."""
    return 1.0


def inverse_time(epoch: int, decay: float) -> float:
    """1 / (1 + decay * epoch), as LASEM's released program.

    >>> inverse_time(2000, decay=1 / 4000)
    0.6666666666666666
    """
    return 1 / (1 + decay * epoch)
