"""Images in arrays: from Python, or in a file of NumPy's (.npz)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import numpy as np
from numpy.typing import NDArray

from lifelong.data.sources.archive import DAMAGED
from lifelong.data.sources.pixels import brought
from lifelong.data.sources.source import Source, evenly, prepared
from lifelong.errors import check_named

# Names that arrays have in files, by part: those of Keras' mnist.npz, of MedMNIST, and their like.
IMAGES = {
    "train": ("x_train", "X_train", "train_images", "train_x", "x", "X", "images", "data"),
    "test": ("x_test", "X_test", "test_images", "test_x"),
    "val": ("x_val", "X_val", "val_images", "val_x", "x_valid", "valid_images"),
}
LABELS = {
    "train": ("y_train", "Y_train", "train_labels", "train_y", "y", "labels", "targets", "label"),
    "test": ("y_test", "Y_test", "test_labels", "test_y"),
    "val": ("y_val", "Y_val", "val_labels", "val_y", "y_valid", "valid_labels"),
}
CHANNELS = (1, 3)
Part = tuple[Any, Any]  # images and labels


def from_arrays(
    train: Part,
    test: Part | None = None,
    val: Part | None = None,
    *,
    classes: Sequence[str] | None = None,
    test_share: float = 0.2,
    name: str = "arrays",
) -> Source:
    """A source of images in memory.

    Args:
        train: images and labels. Images are (n, h, w), (n, h, w, c) or (n, c, h, w) with 1 or 3
            channels, in uint8 or as fractions from 0 to 1; arrays or tensors. Labels (n,) or (n, 1)
            are whole numbers or texts; classes are numbered in their order.
        test: likewise; None: `test_share` of the images of each class, evenly.
        val: likewise, images for validation.
        classes: names of the classes, in the order of the labels.
        test_share: see `test`, in (0, 1).
        name: of the source.

    Raises:
        ValueError: arrays of another kind, labels that the training images do not have.

    >>> import numpy as np
    >>> source = from_arrays((np.zeros((10, 8, 8), np.uint8), ["cat", "dog"] * 5))
    >>> source.classes, source.shape, len(source.test_labels)
    (('cat', 'dog'), (1, 8, 8), 2)
    """
    images, labels = _checked(train, name, "training")
    try:
        known, number = np.unique(labels, return_inverse=True)
    except TypeError:
        kinds = ", ".join(sorted({type(label).__name__ for label in labels.tolist()}))
        raise ValueError(
            f"{name}: the labels are of several kinds ({kinds}); give whole numbers or texts"
        ) from None
    if classes is not None and len(classes) != len(known):
        raise ValueError(f"{name}: has {len(known)} labels and {len(classes)} names of classes")
    names = tuple(map(str, known if classes is None else classes))
    if len(set(names)) < len(names):
        twice = next(each for each in names if names.count(each) > 1)
        raise ValueError(f"{name}: two classes are called {twice}; give each a name of its own")
    others = [
        None
        if part is None
        else _numbered(_checked(part, name, title, images.shape[1:]), known, name)
        for part, title in ((test, "test"), (val, "validation"))
    ]
    tested, own = others[0], others[1] or ()
    if tested is None:
        held_out = np.zeros(len(number), dtype=np.bool_)
        for label, called in enumerate(names):
            rows = np.flatnonzero(number == label)
            held_out[rows] = evenly(len(rows), test_share, f"{name}: class {called!r}")
        tested = images[held_out], number[held_out]
        images, number = images[~held_out], number[~held_out]
    return Source(name, images, number.astype(np.int64), *tested, names, name, *own)


def array_file(
    file: str | Path,
    *,
    shape: Sequence[int],
    cache: str | Path,
    test: float = 0.2,
    option: str = "data.file",
) -> Source:
    """The images in a .npz file, brought to a shape; nothing in it is unpickled.

    Args:
        file: holds arrays such as `x_train`, `y_train`, `x_test`, `y_test`, see `from_arrays`.
        shape: (c, h, w), to which the images are brought.
        cache: folder whose `.cache` holds the prepared copy.
        test: share of each class, where there is no test part.
        option: what errors call `file`.

    Raises:
        ValueError: no such file, or arrays of another kind.
    """
    path = Path(file).expanduser()
    check_named(option, str(file))
    if not path.is_file():
        raise ValueError(f"{option}={file}: no such file; give one of numpy.savez")
    if not is_zipfile(path):
        raise ValueError(f"{option}={file}: is no file of numpy.savez")

    def read() -> Source:
        try:
            parts = {part: _pair(content, part) for part in IMAGES}
        except (ValueError, OSError, EOFError, *DAMAGED) as error:  # pickled objects, say
            raise ValueError(f"{option}={file}: {error}") from None
        if parts["train"] is None:
            raise ValueError(
                f"{option}={file}: holds {', '.join(content) or 'nothing'}; give arrays x_train "
                "and y_train, and maybe x_test and y_test, x_val and y_val"
            )
        found = from_arrays(
            parts["train"], parts["test"], parts["val"], test_share=test, name=path.stem
        )
        return reshaped(found, shape)

    key = f"arrays-{path.stem}-{'x'.join(map(str, shape))}-{test}"
    with np.load(path, allow_pickle=False) as content:
        return prepared(key, path, Path(cache), read)


def reshaped(source: Source, shape: Sequence[int]) -> Source:
    """A source whose images are brought to (c, h, w)."""
    if tuple(shape) == source.shape:
        return source

    def bring(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return brought(images, shape, source.name).contiguous().numpy() if len(images) else images

    return Source(
        source.name, bring(source.train_images), source.train_labels, bring(source.test_images),
        source.test_labels, source.classes, source.origin, bring(source.val_images),
        source.val_labels, source.note,
    )  # fmt: skip


def uint8(images: Any, name: str) -> NDArray[np.uint8]:
    """Images as uint8 (n, c, h, w).

    Raises:
        ValueError: another number of dimensions or channels, or values without a range.
    """
    if hasattr(images, "detach"):  # a tensor, maybe of a kind that NumPy does not know
        images = images.detach().cpu()
        images = images.float() if str(images.dtype) == "torch.bfloat16" else images
    found = np.asarray(images)
    if found.ndim == 3:
        found = found[:, None]
    elif found.ndim == 4 and found.shape[3] in CHANNELS and found.shape[1] not in CHANNELS:
        found = found.transpose(0, 3, 1, 2)
    if found.ndim != 4 or found.shape[1] not in CHANNELS:
        raise ValueError(
            f"{name}: the images are {list(np.shape(images))}; give (n, h, w), or four dimensions "
            "with 1 or 3 channels"
        )
    if found.dtype == np.uint8:
        return np.ascontiguousarray(found)
    if not np.issubdtype(found.dtype, np.floating) and found.dtype != np.bool_:
        raise ValueError(f"{name}: the images are {found.dtype}; give uint8, or fractions 0 to 1")
    low, high = (float(found.min()), float(found.max())) if found.size else (0.0, 0.0)
    if not 0 <= low <= high <= 1:
        raise ValueError(
            f"{name}: the images have values from {low:g} to {high:g}; give fractions from 0 to 1, "
            "or uint8"
        )
    return np.ascontiguousarray(np.rint(255 * found.astype(np.float64)).astype(np.uint8))


def _checked(
    part: Part, name: str, title: str, shape: tuple[int, ...] | None = None
) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Images in uint8 and labels (n,), as many of the one as of the other."""
    images, labels = uint8(part[0], name), np.asarray(part[1]).reshape(-1)
    if not len(images) and not len(labels):
        raise ValueError(f"{name}: holds no {title} images; give some, or leave the part out")
    if len(images) != len(labels):
        raise ValueError(f"{name}: {len(images)} {title} images but {len(labels)} labels")
    if labels.dtype.kind in "fc" or any(label is None for label in labels.tolist()):
        kind = "missing for some images" if labels.dtype.kind == "O" else labels.dtype
        raise ValueError(f"{name}: the labels are {kind}; give whole numbers or texts")
    if shape is not None and images.shape[1:] != shape:
        raise ValueError(
            f"{name}: the {title} images are {list(images.shape[1:])} and those for training "
            f"{list(shape)}; give images of one shape"
        )
    return images, labels


def _numbered(
    part: tuple[NDArray[np.uint8], NDArray[Any]], known: NDArray[Any], name: str
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """A part whose labels are numbers of the classes of the training images."""
    unknown = np.setdiff1d(part[1], known)
    if len(unknown):
        raise ValueError(f"{name}: no training image has the label {unknown[0]}")
    return part[0], np.searchsorted(known, part[1]).astype(np.int64)


def _pair(content: Mapping[str, Any], part: str) -> Part | None:
    images = next((content[key] for key in IMAGES[part] if key in content), None)
    labels = next((content[key] for key in LABELS[part] if key in content), None)
    if (images is None) != (labels is None):
        there, names = ("images", LABELS[part]) if labels is None else ("labels", IMAGES[part])
        raise ValueError(f"has {there} for {part} and no {names[0]}; give both, or neither")
    return None if images is None or labels is None else (images, labels)
