"""Learning-rate schedules: the factor on the base rate in an epoch.

The epoch is counted over the whole stream from 0, never reset at a task's begin; a schedule that
begins anew with each task is told the epochs of a task as its period.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Schedule = Callable[[int], float]


def constant(epoch: int) -> float:
    """The base rate throughout."""
    return 1.0


def exponential(epoch: int, decay: float, period: int | None = None) -> float:
    """Decay ** epoch, beginning anew every `period` epochs.

    >>> exponential(22, decay=0.5, period=20)
    0.25
    """
    return float(decay ** (epoch if period is None else epoch % period))


def step(epoch: int, every: int, factor: float, period: int | None = None) -> float:
    """Times `factor` every `every` epochs, beginning anew every `period` epochs.

    >>> step(45, every=20, factor=0.5, period=100)
    0.25
    """
    return float(factor ** ((epoch if period is None else epoch % period) // every))


def milestones(epoch: int, at: Sequence[int], factor: float, period: int | None = None) -> float:
    """Times `factor` after each of the epochs `at`, beginning anew every `period` epochs.

    >>> milestones(85, at=[60, 80], factor=0.5, period=100)
    0.25
    """
    within = epoch if period is None else epoch % period
    return float(factor ** sum(within >= end for end in at))


def cosine(epoch: int, period: int, floor: float = 0.0) -> float:
    """Half a cosine from 1 to `floor` over `period` epochs, then anew (Loshchilov, Hutter 2017).

    Raises:
        ValueError: a value out of range.

    >>> [round(cosine(epoch, 4), 3) for epoch in range(5)]
    [1.0, 0.854, 0.5, 0.146, 1.0]
    """
    if period < 1 or not 0 <= floor <= 1:
        raise ValueError(
            f"schedule.period={period}: give 1 or more; schedule.floor={floor}: a share from 0 to 1"
        )
    share = epoch % period / period
    return floor + (1 - floor) * (1 + math.cos(math.pi * share)) / 2


def per_task(epoch: int, decay: float, period: int, lr: float, floor: float) -> float:
    """Decay ** k in the k-th task, counted from 1; the rate sinks to `floor` at most (Stable SGD).

    Args:
        epoch: since the begin of the stream.
        decay: factor for each task, the first one too.
        period: epochs of a task.
        lr: the base rate.
        floor: least rate.

    >>> per_task(2, decay=0.5, period=2, lr=0.1, floor=5e-5)
    0.25
    """
    return max(float(decay ** (1 + epoch // period)), min(floor / lr, 1.0))


def inverse_time(epoch: int, decay: float) -> float:
    """1 / (1 + decay * epoch), as LASEM's released program.

    >>> inverse_time(2000, decay=1 / 4000)
    0.6666666666666666
    """
    return 1 / (1 + decay * epoch)
