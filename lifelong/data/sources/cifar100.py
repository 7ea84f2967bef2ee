"""CIFAR-100 (Krizhevsky 2009): 100 classes of 32 x 32 colour images, numbered by fine label."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifelong.data.sources.archive import read_archive
from lifelong.data.sources.folder import image_folder
from lifelong.data.sources.source import Source, newest_copy, prepared
from lifelong.data.sources.source import download as download_with

ARCHIVE = "cifar-100-python.tar.gz"
FOLDER = "cifar-100-python"
ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar.html"
SHAPE = (3, 32, 32)
Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


def cifar100(data_dir: str | Path, *, download: bool = True) -> Source:
    """CIFAR-100, whole or in part, from `data_dir`.

    Looks for the official archive or its unpacked folder, for an image folder `cifar100` or
    `cifar100.zip` (`train/<class>/*`, `test/<class>/*`; its 100 class folders in the order of their
    names are the fine labels), for a copy prepared earlier, and at last for the network.

    Raises:
        ValueError: nothing found, an unreadable archive, or not 100 classes.
    """
    folder = Path(data_dir).expanduser()
    for official in (folder / ARCHIVE, folder / FOLDER):
        if official.exists():
            return _official(official, folder)
    for images in (folder / "cifar100", folder / "cifar100.zip"):
        if images.exists():
            source = image_folder(images, shape=SHAPE, cache=folder, name="cifar100")
            if len(source.classes) != 100:
                raise ValueError(
                    f"{images}: has {len(source.classes)} class folders; the 100 of CIFAR-100 are "
                    "needed, because their order gives the labels"
                )
            return source
    copy = newest_copy("cifar100-official", folder) or newest_copy("cifar100-3x32x32-0.2", folder)
    if copy is not None:
        return copy
    if download:
        return _download(folder)
    raise _missing(folder, "and download=false")


def _missing(folder: Path, why: str) -> ValueError:
    return ValueError(
        f"cifar100: no images in paths.data_dir={folder} {why}. Looked for {folder / ARCHIVE}, "
        f"{folder / FOLDER}/, {folder / 'cifar100'}/{{train,test}}/<class>/*.png and "
        f"{folder / 'cifar100.zip'}. The official archive is at {ADDRESS}; "
        "data=digits runs at once without any"
    )


def _download(folder: Path) -> Source:
    from torchvision.datasets import CIFAR100

    download_with(
        folder,
        lambda: CIFAR100(str(folder), train=True, download=True),
        lambda why: _missing(folder, why),
    )
    return _official(folder / FOLDER, folder)


def _official(path: Path, folder: Path) -> Source:
    return prepared("cifar100-official", path, folder, lambda: _read(path))


def _read(path: Path) -> Source:
    def parse(read: Callable[[str], bytes]) -> tuple[Part, Part, tuple[str, ...]]:
        train, test, meta = (_unpickle(read(name)) for name in ("train", "test", "meta"))
        names = tuple(str(name) for name in meta["fine_label_names"])
        return _arrays(train), _arrays(test), names

    train, test, classes = read_archive(path, FOLDER, parse)
    return Source("cifar100", *train, *test, classes, path.name)


def _arrays(part: dict[str, Any]) -> Part:
    images = np.asarray(part["data"], dtype=np.uint8).reshape(-1, *SHAPE)
    return images, np.asarray(part["fine_labels"], dtype=np.int64)


class _Plain(pickle.Unpickler):
    """Loads numbers, texts, lists and arrays, and refuses every other class or function."""

    ALLOWED = frozenset(
        {
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("numpy.core.numeric", "_frombuffer"),
            ("numpy._core.numeric", "_frombuffer"),
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _unpickle(content: bytes) -> dict[str, Any]:
    try:
        loaded = _Plain(io.BytesIO(content), encoding="latin1").load()
    except (pickle.UnpicklingError, AttributeError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(loaded, dict):
        raise ValueError("it is no dictionary")
    return loaded
