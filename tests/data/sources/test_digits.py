"""The digits that come with scikit-learn."""

import numpy as np

from lifelong.data.sources import digits


def test_digits() -> None:
    source = digits()
    assert source.shape == (1, 8, 8)
    assert len(source.train_labels) + len(source.test_labels) == 1797
    assert source.train_images.max() == 255
    shares = np.bincount(source.test_labels) / np.bincount(source.train_labels)
    assert ((shares > 0.2) & (shares < 0.26)).all()
