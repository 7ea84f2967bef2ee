"""Handwritten digits that come with scikit-learn: real images, nothing to download."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from lifelong.data.sources.source import Source

FILE = "datasets/data/digits.csv.gz"  # of scikit-learn, 64 pixels and the label in a line


def digits(size: int = 8) -> Source:
    """1797 grey images of 8 x 8 pixels, 10 classes (Alpaydin & Kaynak 1998, UCI "optdigits").

    The bundled set has no official test part; here every fifth image of a class, in the order of
    the set, is a test image. The 17 grey levels are spread over 0 to 255.

    Args:
        size: pixels of a side, a multiple of 8; each pixel of the set becomes a square.

    Raises:
        ValueError: another size.
    """
    if size < 8 or size % 8:
        raise ValueError(f"digits: images of {size} pixels a side; give a multiple of 8")
    pixels, labels = _bundled()
    images = np.rint(pixels * (255 / 16)).astype(np.uint8)[:, None]  # (n, 1, 8, 8)
    images = images.repeat(size // 8, 2).repeat(size // 8, 3)
    rank = np.zeros(len(labels), dtype=np.int64)  # of an image within its class
    for label in range(10):
        rows = np.flatnonzero(labels == label)
        rank[rows] = np.arange(len(rows))
    test = rank % 5 == 4
    return Source(
        "digits",
        images[~test],
        labels[~test],
        images[test],
        labels[test],
        tuple(str(label) for label in range(10)),
        "scikit-learn",
    )


def _bundled() -> tuple[np.ndarray, np.ndarray]:
    """Grey levels from 0 to 16, (n, 8, 8), and labels; without importing all of scikit-learn."""
    found = find_spec("sklearn")
    assert found is not None
    assert found.origin is not None
    table = np.loadtxt(Path(found.origin).parent / FILE, delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)
