"""Images standardised by statistics of their own, or by fixed ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lifelong.data.normalisation import moments, standardized


def test_moments_are_those_of_numpy() -> None:
    images = torch.randint(0, 256, (5, 3, 4, 6), dtype=torch.uint8)
    mean, std = moments(images, 255.0)
    values = images.numpy().astype(np.float64)
    np.testing.assert_allclose(mean.numpy(), values.mean((0, 2, 3)))
    np.testing.assert_allclose(std.numpy(), values.std((0, 2, 3)))
    _, floor = moments(torch.full((5, 3, 4, 6), 7, dtype=torch.uint8), 255.0)
    np.testing.assert_allclose(floor.numpy(), 255 / np.sqrt(5 * 4 * 6))


@pytest.mark.parametrize(
    ("how", "mean", "std"),
    [
        ("none", [0.0] * 3, [1.0] * 3),
        ("signed", [0.5] * 3, [0.5] * 3),
        ("imagenet", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    ],
)
@pytest.mark.parametrize("stored", [torch.uint8, torch.float32])
def test_fixed_statistics_by_hand(how: Any, mean: Any, std: Any, stored: torch.dtype) -> None:
    """Of pixels in bytes and of those in [0, 1] alike."""
    pixels = torch.randint(0, 256, (4, 3, 2, 2), dtype=torch.uint8)
    given = pixels if stored == torch.uint8 else pixels.float() / 255
    made = standardized(given, torch.arange(4), 2, pixels[:0], how)
    batch = made[torch.arange(4)]
    column = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    expected = (pixels.float() / 255 - next(column)) / next(column)
    torch.testing.assert_close(batch.x, expected)
    assert batch.t.tolist() == [2] * 4


def test_statistics_of_a_reference_serve_other_images() -> None:
    pixels, reference = (torch.rand(6, 2, 3, 3) for _ in range(2))
    found = standardized(pixels, torch.arange(6), 0, reference, "train")[torch.arange(6)].x
    mean, std = reference.mean((0, 2, 3)), reference.std((0, 2, 3), correction=0)
    expected = (pixels - mean.view(2, 1, 1)) / std.view(2, 1, 1)
    torch.testing.assert_close(found, expected)
    plain = standardized(pixels, torch.arange(6), 0, reference[:0], "train")[torch.arange(6)].x
    torch.testing.assert_close(plain, pixels)  # there is nothing to take them from


def test_refuses_other_channels_and_names() -> None:
    grey = torch.rand(2, 2, 3, 3)
    with pytest.raises(ValueError, match=r"data\.standardize=imagenet: is for images of three"):
        standardized(grey, torch.arange(2), 0, grey, "imagenet")
    with pytest.raises(ValueError, match=r"data\.standardize=odd: give split or train"):
        standardized(grey, torch.arange(2), 0, grey, "odd")  # type: ignore[arg-type]
