"""MNIST (LeCun et al. 1998), Fashion-MNIST (Xiao et al. 2017), notMNIST (Bulatov 2011): 28 x 28."""

from __future__ import annotations

import gzip
import math
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from lifelong.data.sources.archive import DAMAGED, members
from lifelong.data.sources.decoding import pixels
from lifelong.data.sources.folder import image_key, read_images
from lifelong.data.sources.places import Place, find, with_torchvision
from lifelong.data.sources.source import Source

SHAPE = (1, 28, 28)
DIGITS = tuple(str(digit) for digit in range(10))
CLOTHES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
FILES = tuple(
    f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")
)
LETTERS = "notMNIST_small"


def mnist(data_dir: str | Path, *, download: bool = True) -> Source:
    """MNIST: 60,000 + 10,000 grey handwritten digits.

    Looks in `data_dir` for the four official files, packed or not, in `MNIST/raw`, `MNIST` or
    `mnist`; for an image folder `mnist` or `mnist.zip` (`train/<digit>/*`, `test/<digit>/*`); for a
    copy prepared earlier, and at last for the network.

    Raises:
        ValueError: nothing found, an unreadable file, or not 10 classes.
    """
    return _official(
        "mnist", "MNIST", ("mnist",), DIGITS, "https://yann.lecun.com/exdb/mnist/", data_dir,
        with_torchvision("MNIST") if download else None,
    )  # fmt: skip


def fashion_mnist(data_dir: str | Path, *, download: bool = True) -> Source:
    """Fashion-MNIST: 60,000 + 10,000 grey pictures of clothes; looked for as `mnist`.

    Folders are `FashionMNIST/raw`, `FashionMNIST` and `fashion_mnist`, image folders
    `fashion_mnist`, `fashion_mnist_images` or zip files of these names.
    """
    return _official(
        "fashion_mnist", "FashionMNIST", ("fashion_mnist", "fashion_mnist_images"), CLOTHES,
        "https://github.com/zalandoresearch/fashion-mnist", data_dir,
        with_torchvision("FashionMNIST") if download else None,
    )  # fmt: skip


def notmnist(data_dir: str | Path) -> Source:
    """notMNIST, the small set: some 18,700 grey letters A to J; a tenth, drawn once, for testing.

    Looks in `data_dir` for `notMNIST_small.tar.gz` or its unpacked folder (`<letter>/*.png`), and
    for a copy prepared earlier. Files that cannot be read are left out: the official archive has
    some.

    Raises:
        ValueError: nothing found, or an unreadable archive.
    """
    places = [Place(path, "notmnist", _letters) for path in (f"{LETTERS}.tar.gz", LETTERS)]
    address = "http://yaroslavvb.blogspot.com/2011/09/notmnist-dataset.html (to be fetched by hand)"
    return find("notmnist", data_dir, places, address=address)


def _official(
    name: str,
    official: str,
    folders: Sequence[str],
    classes: Sequence[str],
    address: str,
    data_dir: str | Path,
    fetch: Callable[[Path], object] | None,
) -> Source:
    places = [
        Place(
            f"{folder}/{FILES[0]}{ending}",
            f"{name}-official",
            partial(_idx, name, classes),
            tuple(file + ending for file in FILES[1:]),
        )
        for folder in (f"{official}/raw", official, folders[0])
        for ending in ("", ".gz")
    ]
    places += [
        Place(path, image_key(name, SHAPE), partial(_images, name))
        for folder in folders
        for path in (folder, f"{folder}.zip")
    ]
    return find(name, data_dir, places, address=address, fetch=fetch)


def _images(name: str, path: Path) -> Source:
    source = read_images(name, path, SHAPE)
    if len(source.classes) != 10:
        raise ValueError(f"{path}: has {len(source.classes)} class folders; 10 are needed")
    return source


def _idx(name: str, classes: Sequence[str], first: Path) -> Source:
    ending = ".gz" if first.suffix == ".gz" else ""
    arrays = [_array(first.with_name(file + ending)) for file in FILES]
    train, train_labels, test, test_labels = arrays
    return Source(
        name, train[:, None], train_labels.astype(np.int64), test[:, None],
        test_labels.astype(np.int64), tuple(classes), first.parent.name,
    )  # fmt: skip


def _array(path: Path) -> NDArray[np.uint8]:
    """An array of bytes in the idx format."""
    if not path.exists():
        raise ValueError(f"{path} is missing; fetch the data set again")
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        if content[:3] != b"\0\0\x08":
            raise ValueError("not in the idx format")
        sizes = np.frombuffer(content, ">u4", content[3], 4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * content[3]).reshape(sizes)
    except (ValueError, IndexError, *DAMAGED) as error:
        raise ValueError(f"{path}: not a readable file ({error}); fetch it again") from None


def _letters(path: Path) -> Source:
    found: dict[str, tuple[NDArray[np.uint8], int]] = {}
    for name, content in track(members(path, ".png"), "notmnist: images"):
        letter = PurePosixPath(name).parent.name
        if re.fullmatch("[A-J]", letter):
            try:
                image = pixels(content, SHAPE, name)
            except ValueError:
                continue
            found[name] = image, ord(letter) - ord("A")
    if not found:
        raise ValueError(f"{path}: holds no images <letter>/*.png")
    ordered = [found[name] for name in sorted(found)]
    images = np.stack([image for image, _ in ordered])
    labels = np.array([label for _, label in ordered], dtype=np.int64)
    order = np.random.RandomState(0).permutation(len(labels))  # as TAG's program seeds it
    cut = math.floor(0.1 * len(labels))
    test, train = np.sort(order[:cut]), np.sort(order[cut:])
    return Source(
        "notmnist", images[train], labels[train], images[test], labels[test],
        tuple("ABCDEFGHIJ"), path.name,
    )  # fmt: skip
