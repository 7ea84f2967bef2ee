"""Paired tests between methods over the seeds that both have."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
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
        ours, theirs = _by_seeds(one, metric), _by_seeds(other, metric)
        both = [(value, theirs[seeds]) for seeds, value in ours.items() if seeds in theirs]
        both = [pair for pair in both if not any(map(math.isnan, pair))]
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


def _by_seeds(group: Group, metric: str) -> dict[tuple[Any, ...], float]:
    """A metric by all seeds but those that other methods do not have, if they tell runs apart."""
    common = [place for place, key in enumerate(SEEDS) if not key.startswith("strategy.")]
    found = {tuple(run.seeds[p] for p in common): run.value(metric) for run in group.runs}
    if len(found) < len(group.runs):
        return {run.seeds: run.value(metric) for run in group.runs}
    return found
