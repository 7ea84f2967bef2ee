"""Data sets of PyTorch's kind, read once into arrays; torchvision's by their names."""

from __future__ import annotations

import inspect
import json
import zlib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image
from rich.markup import escape
from rich.progress import track

from lifelong.configuration.options import defaults
from lifelong.data.sources.arrays import Part, from_arrays, uint8
from lifelong.data.sources.decoding import array_of, known_formats
from lifelong.data.sources.pixels import brought
from lifelong.data.sources.source import Source, prepared, room
from lifelong.errors import Missing

# Values of torchvision's `split`, by part, those that are tried first standing first.
SPLITS = {
    "train": ("train", "trainval", "training"),
    "test": ("test", "testing", "val"),
    "val": ("val", "valid"),
}


class Indexed(Protocol):
    """A data set: `dataset[i]` is an image and its label."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


OF_FOLDERS = ("ImageFolder", "DatasetFolder")  # whose images are whatever is there


def materialize(
    train: Indexed,
    test: Indexed | None = None,
    val: Indexed | None = None,
    *,
    shape: Sequence[int],
    classes: Sequence[str] | None = None,
    test_share: float = 0.2,
    name: str = "dataset",
) -> Source:
    """A source of data sets of PyTorch's kind; each image is read once, with a progress bar.

    Args:
        train: gives (image, label) for a number; an image of PIL's, or an array or tensor as one of
            `from_arrays`.
        test: likewise; None: a share of each class.
        val: likewise, images for validation.
        shape: (c, h, w), to which each image is brought.
        classes: names; by default what `train.classes` has.
        test_share: see `test`.
        name: of the source.

    Raises:
        ValueError: images or labels of another kind, with the number of the first one.

    >>> import torch
    >>> made = torch.utils.data.TensorDataset(torch.rand(10, 3, 8, 8), torch.arange(10) % 2)
    >>> materialize(made, shape=(3, 4, 4)).shape
    dataset: training images ...
    (3, 4, 4)
    """
    with known_formats():
        images, labels = _read(train, shape, name, "training")
        others = [
            None if dataset is None else _read(dataset, shape, name, title)
            for dataset, title in ((test, "test"), (val, "validation"))
        ]
    own = getattr(train, "classes", None) if classes is None else classes
    names = None
    if own is not None and np.issubdtype(labels.dtype, np.integer):
        present = np.unique(labels)
        if all(0 <= number < len(own) for number in present):
            names = [str(own[number]) for number in present]
    return from_arrays((images, labels), *others, classes=names, test_share=test_share, name=name)


def torchvision_set(
    name: str,
    *,
    shape: Sequence[int],
    data_dir: str | Path,
    download: bool = True,
    options: Mapping[str, Any] | None = None,
    test: float = 0.2,
) -> Source:
    """A data set of `torchvision.datasets`, by the name of its class, such as `Flowers102`.

    Its files lie in `data_dir` as torchvision leaves them. A set without a test part gives a share
    of each class. The prepared copy belongs to the number of images; official sets do not change.

    Args:
        name: of the class.
        shape: (c, h, w), to which each image is brought.
        data_dir: `root` of the class.
        download: fetch what is missing, where the class can.
        options: further arguments of the class, such as `{split: letters}` of EMNIST.
        test: share of each class where there is no test part.

    Raises:
        ValueError: no such class, files that are missing, labels that are no classes.
    """
    kind = _kind(name)
    official = _Official(kind, Path(data_dir).expanduser(), download, dict(options or {}))
    try:
        parts = official.parts()
    except TypeError as error:  # of its arguments
        raise ValueError(f"data.name={name}: {error}; give data.source.options") from None
    if parts["train"] is None:
        raise ValueError(f"data.name={name}: has no training part; give data.source.options")
    sizes = "-".join(str(len(part)) for part in parts.values() if part is not None)
    mark = zlib.crc32(json.dumps([options, test], sort_keys=True, default=str).encode())
    key = f"torchvision-{name}-{'x'.join(map(str, shape))}-{sizes}-{mark:08x}"
    return prepared(
        key, Path(inspect.getfile(kind)), official.folder,
        lambda: materialize(
            parts["train"], parts["test"], parts["val"], shape=shape, test_share=test, name=name
        ),
    )  # fmt: skip


def _kind(name: str) -> Any:
    """A class of torchvision."""
    from torchvision import datasets

    if name in OF_FOLDERS:
        raise ValueError(f"data.name={name}: is no data set; give data=folder data.root=<folder>")
    kind: Any = getattr(datasets, name, None)
    known_kind = inspect.isclass(kind) and issubclass(kind, datasets.VisionDataset)
    if known_kind and "root" in inspect.signature(kind).parameters:
        return kind
    known = sorted(each for each in datasets.__all__ if each[0].isupper())
    ways = " or ".join(get_close_matches(name, known, 3, 0.5)) or ", ".join(known)
    raise ValueError(f"data.name={name}: torchvision has no such data set; give {ways}")


class _Official:
    """Makes the parts of a data set of torchvision."""

    def __init__(self, kind: Any, folder: Path, download: bool, given: dict[str, Any]) -> None:
        self.kind, self.folder, self.given = kind, folder, given
        self.takes = defaults(kind)
        self.download = download and "download" in self.takes

    def parts(self) -> dict[str, Any]:
        """Each part; None where there is none of that name. No split is two parts."""
        if "train" in self.takes and "train" not in self.given:
            return {"train": self._made(train=True), "test": self._made(train=False), "val": None}
        if "split" not in self.takes or "split" in self.given:
            return {"train": self._made(), "test": None, "val": None}
        taken: set[str] = set()
        return {part: self._of_split(splits, taken) for part, splits in SPLITS.items()}

    def _of_split(self, splits: Sequence[str], taken: set[str]) -> Any:
        for split in splits:
            if split in taken:
                continue
            try:
                made = self._made(split=split)
            except ValueError as error:
                if "split" not in str(error):  # torchvision refuses the value
                    raise
                continue
            taken.add(split)
            return made
        return None

    def _made(self, **options: Any) -> Any:
        try:
            return self.kind(str(self.folder), **options, **self.given)
        except (RuntimeError, FileNotFoundError) as missing:  # there are no files
            if not self.download:
                raise self._missing(missing) from None
        try:
            return self.kind(str(self.folder), download=True, **options, **self.given)
        except Exception as error:  # of many kinds: no network, a full disk
            raise self._missing(error) from None

    def _missing(self, error: Exception) -> Missing:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        how = "and the download failed" if self.download else "and nothing was fetched"
        return Missing(
            f"data.name={self.kind.__name__}: no images in paths.data_dir={self.folder}, {how} "
            f"({reason})"
        )


def _read(dataset: Indexed, shape: Sequence[int], name: str, title: str) -> Part:
    images = room((len(dataset), *shape))
    labels: list[Any] = []
    shown = f"{escape(name)}: {title} images"
    for row in track(range(len(dataset)), shown):
        pair = dataset[row]
        if not isinstance(pair, tuple | list) or len(pair) < 2:
            raise ValueError(f"{name}: item {row} is no pair of an image and a label")
        images[row] = _brought(pair[0], shape, f"{name}: image {row}")
        label = np.asarray(pair[1])
        if label.size != 1:
            raise ValueError(f"{name}: the label of image {row} is no class but {label.shape}")
        labels.append(label.item())
    return images, np.asarray(labels)


def _brought(image: Any, shape: Sequence[int], name: str) -> Any:
    if isinstance(image, Image.Image):
        return array_of(image, shape, name)
    found = np.asarray(image)
    return brought(uint8(found[None], name), shape, name)[0].numpy()
