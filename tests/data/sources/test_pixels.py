"""Arrays of images brought to another shape."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lifelong.data.sources.pixels import brought


def drawn(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def test_images_of_the_shape_stay_as_they_are() -> None:
    images = drawn(3, 2, 4, 5)
    assert np.array_equal(brought(images, (2, 4, 5), "toy").numpy(), images)
    turned = images[:, :, ::-1]  # which torch cannot take as it is
    assert np.array_equal(brought(turned, (2, 4, 5), "toy").numpy(), turned)


def test_grey_images_have_one_memory_for_all_channels() -> None:
    found = brought(drawn(2, 1, 4, 4), (3, 4, 4), "toy")
    assert found.shape == (2, 3, 4, 4)
    assert torch.equal(found[:, 0], found[:, 2])
    assert found.stride(1) == 0


def test_flat_images_keep_their_value_at_another_size() -> None:
    levels = np.array([10, 200], np.uint8)
    images = np.broadcast_to(levels[:, None, None, None], (2, 3, 6, 6))
    found = brought(images, (3, 4, 9), "toy")
    assert found.shape == (2, 3, 4, 9)
    assert found.flatten(1).unique(dim=1).flatten().tolist() == [10, 200]


def test_no_images_and_other_channels() -> None:
    assert brought(drawn(0, 1, 4, 4), (3, 2, 2), "toy").shape == (0, 3, 2, 2)
    with pytest.raises(ValueError, match=r"data\.shape=\[3, 4, 4\]: the images of toy have 2 cha"):
        brought(drawn(1, 2, 4, 4), (3, 4, 4), "toy")
