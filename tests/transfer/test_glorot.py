"""The bounds of Glorot's uniform draw."""

from __future__ import annotations

import math

import pytest
import torch

from lifelong.transfer.glorot import glorot_uniform


@pytest.mark.parametrize(
    ("shape", "fans"),
    [((7,), (7, 7)), ((4, 5), (4, 5)), ((3, 3, 6, 5), (54, 45)), ((1, 2, 2, 16), (4, 64))],
)
def test_glorot_bounds(shape: tuple[int, ...], fans: tuple[int, int]) -> None:
    if shape == (1, 2, 2, 16):  # h h z inputs: the receptive field is 1 x h
        fans = (2 * 2, 2 * 16)
    bound = math.sqrt(6 / sum(fans))
    values = torch.cat([glorot_uniform(shape).detach().flatten() for _ in range(400)])
    assert values.abs().max() <= bound
    assert values.abs().max() > 0.98 * bound
    assert float(values.mean()) == pytest.approx(0, abs=0.05 * bound)
