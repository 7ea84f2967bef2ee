"""What all figures are drawn with."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image

from lifelong.drawing import accuracy_label, hue, image, legend, matrix_of, panels, stride, words


@pytest.mark.parametrize("count", [1, 20, 21, 40, 41, 200])
def test_ticks_are_at_most_twenty(count: int) -> None:
    """And as many as that allows."""
    step = stride(count)
    assert len(range(0, count, step)) <= 20
    assert step == 1 or len(range(0, count, step - 1)) > 20


def test_panels_stand_in_rows_and_become_an_image() -> None:
    figure, axes = panels(2, 3, 4.0, 3.0)
    assert len(axes) == 6
    boxes = [each.get_subplotspec().rowspan.start for each in axes if each.get_subplotspec()]
    assert boxes == [0, 0, 0, 1, 1, 1]
    axes[0].plot([0, 1], label=words("_x\u4e00$"))  # which the font has not
    legend(axes[0])
    with Image.open(io.BytesIO(image(figure))) as picture:
        assert picture.size == (4 * 130, 3 * 130)


def test_lines_differ_in_their_colours() -> None:
    assert len({hue(task) for task in range(10)}) == 10
    assert hue(13) == hue(3)


def test_accuracies_are_named_after_what_they_are_of() -> None:
    assert accuracy_label({}) == "test accuracy, %"
    given = {"measured_on": "validation", "evaluate": "class"}
    assert accuracy_label(given) == "validation accuracy, class-incremental, %"
    found = matrix_of({"accuracy": [[0.5, None], [1, 0]], "tasks": ["a", "b"]})
    np.testing.assert_array_equal(found, [[0.5, math.nan], [1.0, 0.0]])
