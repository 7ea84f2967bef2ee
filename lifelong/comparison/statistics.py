"""Means, deviations, confidence intervals, and p-values of several tests."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Summary:
    """Of n numbers: mean, standard deviation of the sample, confidence interval of the mean.

    Attributes:
        ci95: half its width, 95 % by Student's t distribution; NaN of fewer than two numbers.
    """

    n: int
    mean: float
    std: float
    ci95: float


def summarize(values: Sequence[float]) -> Summary:
    """See `Summary`.

    >>> summarize([1.0, 2.0, 3.0])
    Summary(n=3, mean=2.0, std=1.0, ci95=2.48...)
    """
    n = len(values)
    if n < 2:
        return Summary(n, values[0] if n else math.nan, math.nan, math.nan)
    deviation = statistics.stdev(values)
    return Summary(n, statistics.fmean(values), deviation, _t(n - 1) * deviation / math.sqrt(n))


PUBLISHED_SEEDS = 5  # of a published sample, where nobody says how many


def tolerance(ours: Summary, deviation: float | None, seeds: int = PUBLISHED_SEEDS) -> float:
    """Half the 95 % interval of the difference of two means, by Welch's t distribution.

    Args:
        ours: of one number: the published deviation stands in for its own.
        deviation: published, of a sample; None if it is unknown: then that of the published mean
            counts as exact.
        seeds: of the published sample.

    Returns:
        NaN where no deviation is known.

    >>> round(tolerance(summarize([1.0, 2.0, 3.0]), 1.0), 2), tolerance(summarize([1.0]), None)
    (1.97, nan)
    """
    if ours.n < 2:  # one deviation is behind both errors, so its degrees of freedom count once
        return math.nan if deviation is None else _t(seeds - 1) * deviation * (1 + 1 / seeds) ** 0.5
    terms = [(ours.std**2 / ours.n, ours.n - 1)]  # a mean's squared error, its degrees of freedom
    if deviation is not None:
        terms.append((deviation**2 / seeds, seeds - 1))
    square = sum(error for error, _ in terms)
    spread = sum(error**2 / freedom for error, freedom in terms)
    return _t(square**2 / spread) * math.sqrt(square) if spread else 0.0


def _t(freedom: float) -> float:
    from scipy.stats import t

    return float(t.ppf(0.975, freedom))


def holm(values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number (Holm 1979); NaN stay and do not count.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted((i for i, p in enumerate(values) if not math.isnan(p)), key=lambda i: values[i])
    adjusted, highest = [math.nan] * len(values), 0.0
    for rank, i in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * values[i]))
        adjusted[i] = round(highest, 12)
    return adjusted
