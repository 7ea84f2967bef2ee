"""SVHN (Netzer et al. 2011), cropped digits: 32 x 32 colour images of house numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lifelong.data.sources.archive import DAMAGED
from lifelong.data.sources.places import Place, find
from lifelong.data.sources.source import Source

TRAIN, TEST = "train_32x32.mat", "test_32x32.mat"
Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


def svhn(data_dir: str | Path, *, download: bool = True) -> Source:
    """SVHN: 73,257 + 26,032 images of the digits 0 to 9, without the extra part.

    Looks in `data_dir`, there also in the folder `svhn`, for the official files train_32x32.mat
    and test_32x32.mat, for a copy prepared earlier, and at last for the network.

    Raises:
        ValueError: nothing found, or an unreadable file.
    """
    from torchvision.datasets import SVHN

    def fetch(folder: Path) -> None:
        for split in ("train", "test"):
            SVHN(str(folder), split=split, download=True)

    places = [Place(path, "svhn", _read, (TEST,)) for path in (TRAIN, f"svhn/{TRAIN}")]
    address = "http://ufldl.stanford.edu/housenumbers/"
    return find("svhn", data_dir, places, address=address, fetch=fetch if download else None)


def _read(path: Path) -> Source:
    train, test = _part(path), _part(path.with_name(TEST))
    classes = tuple(str(digit) for digit in range(10))
    return Source("svhn", *train, *test, classes, path.name)


def _part(path: Path) -> Part:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    if not path.exists():
        raise ValueError(f"{path} is missing; fetch the data set again")
    try:
        content = loadmat(path)
        images = np.asarray(content["X"], dtype=np.uint8)  # (h, w, c, n)
        labels = np.asarray(content["y"], dtype=np.int64).reshape(-1)
    except (KeyError, ValueError, TypeError, NotImplementedError, MatReadError, *DAMAGED) as error:
        raise ValueError(f"{path}: not a readable file ({error}); fetch it again") from None
    return np.ascontiguousarray(images.transpose(3, 2, 0, 1)), labels % 10  # 10 stands for 0
