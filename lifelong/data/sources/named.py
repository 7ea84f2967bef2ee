"""The data sets that have a name of their own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from lifelong.data.sources.cifar import cifar10, cifar100
from lifelong.data.sources.cub import cub
from lifelong.data.sources.digits import digits
from lifelong.data.sources.mini_imagenet import mini_imagenet
from lifelong.data.sources.mnist import fashion_mnist, mnist, notmnist
from lifelong.data.sources.source import Source
from lifelong.data.sources.stl10 import stl10
from lifelong.data.sources.svhn import svhn
from lifelong.data.sources.tiny_imagenet import tiny_imagenet

_ALL: tuple[Callable[..., Source], ...] = (
    cifar10, cifar100, cub, digits, fashion_mnist, mini_imagenet, mnist, notmnist, stl10, svhn,
    tiny_imagenet,
)  # fmt: skip
NAMED = {make.__name__: make for make in _ALL}


def named(name: str, data_dir: str | Path, *, download: bool = True) -> Source:
    """The data set of this name, in its own image size.

    Args:
        name: one of `NAMED`.
        data_dir: folder of the data sets.
        download: fetch it where it is missing and can be fetched.

    Raises:
        ValueError: no such name; images that are not there.

    >>> named("digits", "data").shape
    (1, 8, 8)
    """
    make = NAMED.get(name)
    if make is None:
        near = " or ".join(get_close_matches(name, NAMED, 2, 0.5)) or "one of " + ", ".join(NAMED)
        raise ValueError(f"data.names: no data set is called {name}; give {near}")
    given = {"data_dir": data_dir, "download": download}
    taken = inspect.signature(make).parameters
    return make(**{key: value for key, value in given.items() if key in taken})
