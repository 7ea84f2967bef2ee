"""Means, deviations and corrected p-values by hand."""

from __future__ import annotations

import math

import pytest

from lifelong.comparison.statistics import holm, summarize


def test_statistics_by_hand() -> None:
    """Of 1, 2, 6: mean 3, deviation sqrt(7), t(2) = 4.3027."""
    found = summarize([1.0, 2.0, 6.0])
    assert (found.n, found.mean) == (3, 3.0)
    assert found.std == pytest.approx(math.sqrt(7))
    assert found.ci95 == pytest.approx(4.30265 * math.sqrt(7) / math.sqrt(3), rel=1e-5)
    assert math.isnan(summarize([]).mean)
    assert math.isnan(summarize([2.0]).ci95)
    assert holm([0.01, 0.04, 0.03]) == [0.03, 0.06, 0.06]
    assert holm([0.5, math.nan, 0.6])[0] == 1.0
