"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009): 32 x 32 colour images of 10 and 100 classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lifelong.data.sources.archive import read_archive
from lifelong.data.sources.folder import image_key, read_images
from lifelong.data.sources.pickled import by_label, unpickle
from lifelong.data.sources.places import Place, find, with_torchvision
from lifelong.data.sources.source import Source

ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar.html"
SHAPE = (3, 32, 32)
Part = tuple[NDArray[np.uint8], NDArray[np.int64]]


class _Form(NamedTuple):
    """How the official archive of one of the two is laid out."""

    name: str
    classes: int
    archive: str
    folder: str
    train: Sequence[str]
    test: str
    about: str
    names: str
    labels: str
    dictionaries: Sequence[str]


_TEN = _Form(
    "cifar10", 10, "cifar-10-python.tar.gz", "cifar-10-batches-py",
    [f"data_batch_{number}" for number in range(1, 6)], "test_batch", "batches.meta",
    "label_names", "labels", ["cifar10_train.pkl"],
)  # fmt: skip
_HUNDRED = _Form(
    "cifar100", 100, "cifar-100-python.tar.gz", "cifar-100-python",
    ["train"], "test", "meta", "fine_label_names", "fine_labels",
    ["cifar100_train_4500.pkl", "cifar100_train.pkl"],
)  # fmt: skip


def cifar10(data_dir: str | Path, *, download: bool = True) -> Source:
    """CIFAR-10, whole or in part, from `data_dir`; see `cifar100`.

    In an image folder `cifar10` or `cifar10.zip` the classes are those of the official archive in
    the order of their names, which is also the official order.
    """
    return _cifar(_TEN, data_dir, with_torchvision("CIFAR10") if download else None)


def cifar100(data_dir: str | Path, *, download: bool = True) -> Source:
    """CIFAR-100, whole or in part, from `data_dir`.

    Looks for the official archive or its unpacked folder, for an image folder `cifar100` or
    `cifar100.zip` (`train/<class>/*`, `test/<class>/*`; its 100 class folders in the order of their
    names are the fine labels), for the pickles of Lifelong Tickets (`cifar100_train_4500.pkl` and
    beside it `cifar100_val.pkl` and `cifar100_test.pkl`, read without running code, whose
    validation images stay such), for a copy prepared earlier, and at last for the network.

    Raises:
        ValueError: nothing found, an unreadable archive, or not 100 classes.
    """
    return _cifar(_HUNDRED, data_dir, with_torchvision("CIFAR100") if download else None)


def _cifar(form: _Form, data_dir: str | Path, fetch: Callable[[Path], object] | None) -> Source:
    official = f"{form.name}-official"
    places = [
        Place(form.archive, official, partial(_official, form)),
        Place(form.folder, official, partial(_official, form)),
        *(
            Place(path, image_key(form.name, SHAPE), partial(_images, form))
            for path in (form.name, f"{form.name}.zip")
        ),
        *(
            Place(path, f"{form.name}-dictionaries", partial(_dictionaries, form), _beside(form))
            for path in form.dictionaries
        ),
    ]
    return find(form.name, data_dir, places, address=ADDRESS, fetch=fetch)


def _images(form: _Form, path: Path) -> Source:
    source = read_images(form.name, path, SHAPE)
    if len(source.classes) != form.classes:
        raise ValueError(
            f"{path}: has {len(source.classes)} class folders; the {form.classes} of {form.name} "
            "are needed, because their order gives the labels"
        )
    return source


def _beside(form: _Form) -> tuple[str, ...]:
    """The other files of a stream as Lifelong Tickets' program reads it."""
    return f"{form.name}_val.pkl", f"{form.name}_test.pkl"


def _dictionaries(form: _Form, train: Path) -> Source:
    paths = [train, *(train.with_name(name) for name in _beside(form))]
    missing = [path for path in paths if not path.exists()]
    if missing:
        raise ValueError(f"{missing[0]} is missing; it is needed beside {train.name}")
    parts = []
    for path in paths:
        found = by_label(path, SHAPE)
        if sorted(found) != list(range(form.classes)):
            raise ValueError(f"{path}: has {len(found)} classes; {form.name} has {form.classes}")
        labels = np.repeat(np.arange(form.classes), [len(found[n]) for n in range(form.classes)])
        parts.append((np.concatenate([found[n] for n in range(form.classes)]), labels))
    names = tuple(str(number) for number in range(form.classes))
    return Source(form.name, *parts[0], *parts[2], names, train.parent.name, *parts[1])


def _official(form: _Form, path: Path) -> Source:
    def parse(read: Callable[[str], bytes]) -> tuple[Part, Part, tuple[str, ...]]:
        parts = [_arrays(unpickle(read(name)), form) for name in (*form.train, form.test)]
        train = [np.concatenate(arrays) for arrays in zip(*parts[:-1], strict=True)]
        names = unpickle(read(form.about))[form.names]
        return (train[0], train[1]), parts[-1], tuple(str(name) for name in names)

    train, test, classes = read_archive(path, form.folder, parse)
    return Source(form.name, *train, *test, classes, path.name)


def _arrays(part: dict[str, Any], form: _Form) -> Part:
    images = np.asarray(part["data"], dtype=np.uint8).reshape(-1, *SHAPE)
    return images, np.asarray(part[form.labels], dtype=np.int64)


def cifar_swap(stream: str, data_dir: str | Path, *, download: bool = True) -> Source:
    """CIFAR-100 for a stream of CIFAR-10 and the reverse: no class is in both.

    Args:
        stream: its name, which tells.
        data_dir: see `cifar10`.
        download: likewise.

    Raises:
        ValueError: another stream; no images.
    """
    if "cifar100" in stream:
        return cifar10(data_dir, download=download)
    if "cifar10" in stream:
        return cifar100(data_dir, download=download)
    raise ValueError(
        f"unlabeled=cifar_swap: {stream} is no stream of CIFAR; give another member of unlabeled"
    )
