"""Figures of TAG."""

from __future__ import annotations

from typing import Any

import numpy as np

from lifelong.optim.tag_figures import drawings


def test_weights_stand_below_the_task_that_is_learned() -> None:
    """The latest of the tasks remembered stand last, where only some are."""
    rows: dict[str, list[float]] = {"1": [], "2": [0.5], "3": [2.0, 1.0], "4": [0.25]}
    results: dict[str, Any] = {"visits": [1, 2, 1, 3], "method": {"relatedness": rows}}
    axes = drawings(results)["relatedness"].figure.axes[0]
    image: Any = axes.images[0].get_array()
    nan = np.nan
    expected = [[nan, nan, nan], [0.5, nan, nan], [2.0, 1.0, nan], [nan, nan, 0.25]]
    np.testing.assert_array_equal(np.ma.filled(image, nan), expected)
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["1", "2", "1", "3"]
    assert drawings({"visits": [1], "method": {"relatedness": {"1": []}}}) == {}
    assert drawings({"visits": [1], "method": {}}) == {}
