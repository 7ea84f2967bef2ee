"""Methods ranked over several streams, and which ranks differ (Demsar, JMLR 2006)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from lifelong.comparison.groups import Group, tables
from lifelong.drawing import INK, hue, single, words

FEWEST = 3  # methods, and streams, of which ranks tell anything


@dataclass(frozen=True)
class Ranks:
    """Mean ranks of methods.

    Attributes:
        mean: rank of each method over the streams, 1 is best.
        streams: so many.
        p: that all are alike, of Friedman's test.
        difference: of two mean ranks from which on they differ at 5 %, of Nemenyi's test.
    """

    mean: dict[str, float]
    streams: int
    p: float
    difference: float


def ranked(scores: Sequence[Mapping[str, float]]) -> Ranks:
    """Ranks of methods by their scores on each stream, the highest first; ties share ranks.

    Args:
        scores: of each stream the score of each method, the same methods on all.

    >>> scores = [{"a": 3, "b": 2, "c": 1}, {"a": 9, "b": 5, "c": 5}, {"a": 2, "b": 1, "c": 0}]
    >>> found = ranked(scores)
    >>> found.mean["a"], round(found.mean["b"], 2), round(found.difference, 2)
    (1.0, 2.17, 1.91)
    """
    from scipy.stats import friedmanchisquare, rankdata, studentized_range

    names = list(scores[0])
    rows = [rankdata([-each[name] for name in names]) for each in scores]
    mean = {name: float(sum(row[i] for row in rows) / len(rows)) for i, name in enumerate(names)}
    columns = [[each[name] for each in scores] for name in names]
    alike = all(len(set(each.values())) == 1 for each in scores)
    p = 1.0 if alike else float(friedmanchisquare(*columns).pvalue)
    k = len(names)
    q = float(studentized_range.ppf(0.95, k, math.inf)) / math.sqrt(2)
    return Ranks(mean, len(scores), p, q * math.sqrt(k * (k + 1) / (6 * len(scores))))


def of_groups(groups: Sequence[Group]) -> Ranks | None:
    """Ranks by final accuracy, of the methods that each table has once; None for too few.

    None, too, where several tables are of one stream, which is no other stream for other epochs.
    """
    found, streams = [], list[str]()
    for _, some in tables(groups):
        streams.append(str(some[0].runs[0].results["data"]))
        names = [group.name for group in some]
        found.append({
            group.name: group.mean("final_accuracy") for group in some
            if names.count(group.name) == 1 and group.values("final_accuracy")
        })  # fmt: skip
    shared = set.intersection(*(set(each) for each in found)) if found else set()
    if len({*streams}) < max(FEWEST, len(found)) or len(shared) < FEWEST:
        return None
    return ranked([{name: each[name] for name in sorted(shared)} for each in found])


def critical_difference(found: Ranks) -> Figure:
    """Mean ranks along a line; bars join methods that do not differ."""
    order = sorted(found.mean, key=lambda name: found.mean[name])
    figure, axes = single(7.0, 1.4 + 0.22 * len(order))
    for place, name in enumerate(order):
        rank, height = found.mean[name], float(place - len(order))  # no line crosses a label
        axes.plot([rank, rank], [0, height], color=hue(place), lw=1.0)
        axes.plot(rank, 0, "o", color=hue(place), ms=4)
        label = f"{words(name)}  {rank:.2f}"
        axes.text(rank + 0.05, height, label, va="center", fontsize=8, color=INK)
    for step, (low, high) in enumerate(alike(found)):
        axes.plot([low - 0.03, high + 0.03], [0.35 + 0.3 * step] * 2, color=INK, lw=3)
    axes.plot([1, 1 + found.difference], [2.0, 2.0], color=INK, lw=1.2, marker="|")
    axes.text(1, 2.35, f"critical difference {found.difference:.2f}", fontsize=7, color=INK)
    axes.set(xlim=(0.8, len(order) + 0.9), ylim=(-len(order) - 0.7, 3), yticks=[])
    axes.set(xlabel=f"mean rank over {found.streams} streams (1 is best)")
    axes.spines["left"].set_visible(False)
    axes.grid(False)
    return figure


def alike(found: Ranks) -> list[tuple[float, float]]:
    """The widest ranges of mean ranks within which no two differ, of at least two methods."""
    ranks = sorted(found.mean.values())
    spans: list[tuple[float, float]] = []
    for start, low in enumerate(ranks):
        high = max(rank for rank in ranks if rank - low <= found.difference)
        several = ranks[start + 1 : start + 2] and ranks[start + 1] <= high
        if several and not (spans and high <= spans[-1][1]):
            spans.append((low, high))
    return spans


def told(found: Ranks) -> str:
    """In a line."""
    return (
        f"Mean ranks by final accuracy over {found.streams} streams; bars join methods whose ranks "
        f"do not differ at 5 % (Nemenyi); Friedman's test that all are alike: p = {found.p:.3g}."
    )
