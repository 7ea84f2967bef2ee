"""Paired tests between methods over the seeds that both have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

from lifelong.comparison.groups import Group
from lifelong.comparison.statistics import holm, summarize
from lifelong.configuration.stored import SEEDS

MOST_PAIRED = 6  # groups of which all pairs are tested
ROUNDING = 1e-9  # accuracies that differ by less are equal


@dataclass(frozen=True)
class Pair:
    """Two methods over the seeds that both have.

    Attributes:
        one, other: their labels.
        n: seeds in common.
        difference: mean of one - other.
        ci95: half width of its 95 % confidence interval (Student's t).
        p: of the paired t-test; NaN where all differences are equal.
        adjusted: by Holm over the pairs of a table.
    """

    one: str
    other: str
    n: int
    difference: float
    ci95: float
    p: float
    adjusted: float


def pairs(groups: Sequence[Group], metric: str = "final_accuracy") -> list[Pair]:
    """Paired t-tests between the groups of a table that have two seeds or more in common.

    Of more than `MOST_PAIRED` groups only the one of the highest mean is compared with the others.
    """
    from scipy.stats import t

    found, asked = [], list(combinations(groups, 2))
    if len(groups) > MOST_PAIRED:
        first = max(groups, key=lambda group: group.mean(metric))
        asked = [(first, group) for group in groups if group is not first]
    for one, other in asked:
        both = max((_both(one, other, metric, own) for own in (True, False)), key=len)
        if len(both) < 2:
            continue
        differences = summarize([a - b for a, b in both])
        p = math.nan
        if differences.std > ROUNDING:
            error = differences.std / math.sqrt(differences.n)
            p = 2 * float(t.sf(abs(differences.mean) / error, differences.n - 1))
        found.append((one, other, differences, p))
    adjusted = holm([p for *_, p in found])
    return [
        Pair(one.label, other.label, d.n, d.mean, d.ci95, p, corrected)
        for (one, other, d, p), corrected in zip(found, adjusted, strict=True)
    ]


def _both(one: Group, other: Group, metric: str, own: bool) -> list[tuple[float, float]]:
    """A metric of two groups at each of the seeds that both have.

    Args:
        one: of the groups.
        other: likewise.
        metric: of their runs.
        own: by all seeds; else by those that every method has, over whose others is averaged.
    """
    keys = [place for place, key in enumerate(SEEDS) if own or not key.startswith("strategy.")]
    found: list[dict[tuple[Any, ...], list[float]]] = [{}, {}]
    for group, values in zip((one, other), found, strict=True):
        for run in group.runs:
            if not math.isnan(value := run.value(metric)):
                values.setdefault(tuple(run.seeds[place] for place in keys), []).append(value)
    ours, theirs = found
    return [(fmean(ours[seeds]), fmean(theirs[seeds])) for seeds in ours if seeds in theirs]
