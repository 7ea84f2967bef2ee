"""STL-10 (Coates, Lee, Ng, AISTATS 2011): 10 classes of 96 x 96 colour images."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from lifelong.data.sources.archive import chunks, read_archive
from lifelong.data.sources.pixels import brought
from lifelong.data.sources.places import Place, find, with_torchvision
from lifelong.data.sources.source import Source

ARCHIVE = "stl10_binary.tar.gz"
FOLDER = "stl10_binary"
ADDRESS = "https://cs.stanford.edu/~acoates/stl10/"
SHAPE = (3, 96, 96)
Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


def stl10(data_dir: str | Path, *, download: bool = True) -> Source:
    """The labelled images of STL-10: 500 a class for training, 800 for testing.

    Looks in `data_dir` for the unpacked folder of the official archive (train_X.bin, train_y.bin,
    test_X.bin, test_y.bin, class_names.txt) or the archive, for a copy prepared earlier, and at
    last for the network.

    Raises:
        ValueError: nothing found, or an unreadable archive.
    """
    places = [Place(path, "stl10", _read) for path in (FOLDER, ARCHIVE)]
    fetch = with_torchvision("STL10", {"split": "train"}) if download else None
    return find("stl10", data_dir, places, address=ADDRESS, fetch=fetch)


def stl10_unlabeled(data_dir: str | Path, *, size: int = 32, download: bool = True) -> Source:
    """The 100,000 images of STL-10 without labels, brought to `size` x `size`, as training images.

    Looks in the places of `stl10` for unlabeled_X.bin. Labels are 0.

    Raises:
        ValueError: a size below 1, nothing found, or an unreadable archive.
    """
    if not 1 <= size <= SHAPE[1]:
        raise ValueError(f"size={size}: give the height of an image, 1 to {SHAPE[1]}")
    key, read = f"stl10_unlabeled-{size}", partial(_read_unlabeled, size=size)
    places = [Place(path, key, read) for path in (FOLDER, ARCHIVE)]
    fetch = with_torchvision("STL10", {"split": "unlabeled"}) if download else None
    return find("stl10", data_dir, places, address=ADDRESS, fetch=fetch)


def _read_unlabeled(path: Path, size: int) -> Source:
    """A thousand images at a time: the whole file has 2.7 GB."""
    name, some, one = "unlabeled_X.bin", 1000, math.prod(SHAPE)
    pieces = chunks(path, FOLDER, name, some * one)
    parts = []
    for piece in track(pieces, "stl10: unlabeled images", total=100_000 // some):
        if len(piece) % one:
            raise ValueError(f"{path}: {name} ends within an image; fetch the archive again")
        parts.append(brought(_images(piece), (SHAPE[0], size, size), "stl10").numpy())
    images = np.concatenate(parts) if parts else np.zeros((0, SHAPE[0], size, size), np.uint8)
    none = np.zeros((0,), np.int64)
    labels = np.zeros(len(images), np.int64)
    return Source("stl10", images, labels, images[:0], none, ("unlabeled",), path.name)


def _read(path: Path) -> Source:
    def parse(read: Callable[[str], bytes]) -> tuple[Part, Part, tuple[str, ...]]:
        train, test = (
            (_images(read(f"{part}_X.bin")), _labels(read(f"{part}_y.bin")))
            for part in ("train", "test")
        )
        return train, test, tuple(read("class_names.txt").decode().split())

    train, test, classes = read_archive(path, FOLDER, parse)
    return Source("stl10", *train, *test, classes, path.name)


def _images(content: bytes) -> NDArray[np.uint8]:
    """The file holds the columns of a channel one after the other."""
    images = np.frombuffer(content, dtype=np.uint8).reshape(-1, *SHAPE)
    return np.ascontiguousarray(images.transpose(0, 1, 3, 2))


def _labels(content: bytes) -> NDArray[np.int64]:
    """The file counts classes from 1."""
    return np.frombuffer(content, dtype=np.uint8).astype(np.int64) - 1
