"""The digits that come with scikit-learn."""

import subprocess
import sys

import numpy as np
from sklearn.datasets import load_digits

from lifelong.data.sources import digits


def test_digits() -> None:
    source = digits()
    assert source.shape == (1, 8, 8)
    assert len(source.train_labels) + len(source.test_labels) == 1797
    assert source.train_images.max() == 255
    shares = np.bincount(source.test_labels) / np.bincount(source.train_labels)
    assert ((shares > 0.2) & (shares < 0.26)).all()


def test_images_and_labels_are_those_of_scikit_learn() -> None:
    source, bunch = digits(), load_digits()
    levels = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    ranks = [int((bunch.target[:row] == bunch.target[row]).sum()) for row in range(1797)]
    test = np.array(ranks) % 5 == 4
    for images, labels, rows in (
        (source.train_images, source.train_labels, ~test),
        (source.test_images, source.test_labels, test),
    ):
        assert np.array_equal(images, levels[rows])
        assert np.array_equal(labels, bunch.target[rows])


def test_scikit_learn_is_read_and_not_imported() -> None:
    """Its own imports take most of a second and 60 MiB."""
    told = "import sys; from lifelong.data.sources.digits import digits; digits(); "
    told += "print('pandas' in sys.modules or 'sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
