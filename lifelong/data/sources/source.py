"""What a source returns, and its prepared copy on disk."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lifelong.data.sources.tree import walked
from lifelong.errors import plain
from lifelong.storage.files import SEAL, read_json, sealed, write_json, write_with
from lifelong.storage.locks import in_turn, remove_leftovers

FORMAT = 4  # of the prepared copies; a new number makes them anew


@dataclass(frozen=True)
class Source:
    """A data set as arrays.

    Images are uint8 (n, c, h, w), labels int64 (n,) numbering `classes`. Where there are validation
    images they are a part of their own; else streams keep some training images for validation.

    Raises:
        ValueError: labels outside the class list, or counts that do not match.
    """

    name: str
    train_images: NDArray[np.uint8]
    train_labels: NDArray[np.int64]
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    origin: str
    val_images: NDArray[np.uint8] = field(default_factory=lambda: np.empty(0, np.uint8))
    val_labels: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    note: str = ""

    def __post_init__(self) -> None:
        for part, images, labels in (
            ("training", self.train_images, self.train_labels),
            ("test", self.test_images, self.test_labels),
            ("validation", self.val_images, self.val_labels),
        ):
            if len(images) != len(labels):
                raise ValueError(
                    f"{self.name}: {len(images)} {part} images but {len(labels)} labels "
                    f"in {self.origin}"
                )
            if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.classes):
                wrong = labels.max() if labels.max() >= len(self.classes) else labels.min()
                raise ValueError(
                    f"{self.name}: {part} label {wrong} in {self.origin} is outside the class "
                    f"list of {len(self.classes)} names (0 to {len(self.classes) - 1})"
                )

    @property
    def shape(self) -> tuple[int, ...]:
        """(c, h, w) of an image."""
        return self.train_images.shape[1:]

    @property
    def has_validation(self) -> bool:
        """Whether some images are for validation."""
        return len(self.val_labels) > 0


def evenly(count: int, share: float, whose: str) -> NDArray[np.bool_]:
    """Which of some images, in their order, are for testing where there is no test part.

    Args:
        count: of the images of a class.
        share: of them, in (0, 1).
        whose: images they are, for messages.

    Raises:
        ValueError: a share out of range, or one that leaves no images on either side.

    >>> evenly(5, 0.4, "class 'cat'").tolist()
    [False, False, True, False, True]
    """
    if not 0 < share < 1:
        raise ValueError(f"data.test={share}: give a share between 0 and 1")
    if not 0 < int(count * share) < count:
        raise ValueError(
            f"{whose} has {count} images, which data.test={share} does not divide into training "
            "and test images; give more, or another data.test"
        )
    places = np.arange(count)
    chosen: NDArray[np.bool_] = ((places + 1) * share).astype(int) > (places * share).astype(int)
    return chosen


def prepared(
    key: str,
    origin: Path,
    folder: Path,
    read: Callable[[], Source],
    beside: Sequence[Path] = (),
) -> Source:
    """The prepared copy of `origin` in `folder/.cache`, made by `read` if it is not there.

    The copy is an array file that is mapped into memory after its checksum was compared. Where
    `folder` cannot be written, the user's cache folder is used.

    Args:
        key: of the source and of the options that make its arrays.
        origin: the file or folder that `read` reads; a change in it makes the copy anew.
        folder: of the data sets.
        read: makes the arrays.
        beside: other files that `read` reads.
    """
    index = _cache_folder(folder) / f"{key}-{_fingerprint(key, origin, beside)}.json"
    found = _load(index)
    if found is not None:
        return found
    with ExitStack() as hold:
        with suppress(OSError):  # of a full disk, say; the copy spares time and is no need
            hold.enter_context(in_turn(index.with_suffix(".lock"), partial(_wait, origin)))
        found = _load(index)  # of who was at it before
        if found is None:
            source = read()
            with suppress(OSError):
                _store(index, source)
            found = _load(index) or source
    return found


def _wait(origin: Path, who: str) -> None:
    print(f"{plain(str(origin))} is being read by {who}; waiting for it", flush=True)


def newest_copy(key: str, folder: Path) -> Source | None:
    """The newest prepared copy of a source whose origin is gone, or None."""
    found = _cache_folder(folder).glob(f"{key}-{'[0-9a-f]' * 16}.json")
    for index in sorted(found, key=lambda path: path.stat().st_mtime, reverse=True):
        source = _load(index)
        if source is not None:
            return source
    return None


def _cache_folder(folder: Path) -> Path:
    target = folder if folder.exists() else folder.absolute().parent
    if folder.exists() and not (os.access(target, os.W_OK) and target.stat().st_mode & 0o222):
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        return Path(home) / "lifelong"
    return folder / ".cache"


def _fingerprint(name: str, origin: Path, beside: Sequence[Path]) -> str:
    """Changes when a file of `origin` is added, removed, resized or rewritten."""
    digest = hashlib.sha256(f"{FORMAT} {name} {origin.resolve()}".encode())
    files = [origin / path for path in walked(origin)] if origin.is_dir() else [origin]
    for path in (*files, *(file for file in beside if file.exists())):
        with suppress(OSError):  # a link to nothing
            status = path.stat()
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _store(index: Path, source: Source) -> None:
    images = np.concatenate(
        [source.train_images, source.test_images, *([source.val_images] * source.has_validation)]
    )
    remove_leftovers(index.parent)
    write_with(index.with_suffix(".npy"), lambda path: _save(path, images))
    about = {
        "name": source.name,
        "origin": source.origin,
        "classes": list(source.classes),
        "note": source.note,
        "checksum": _checksum(images),
        "train_labels": source.train_labels.tolist(),
        "test_labels": source.test_labels.tolist(),
        "val_labels": source.val_labels.tolist(),
    }
    write_json(index, sealed(about))


def _checksum(images: NDArray[np.uint8]) -> int:
    return zlib.crc32(np.ascontiguousarray(images).reshape(-1).data)


def _save(path: Path, images: NDArray[np.uint8]) -> None:
    with path.open("wb") as file:
        np.save(file, images, allow_pickle=False)


def _load(index: Path) -> Source | None:
    """The prepared copy, or None if it is missing or damaged (it is then made anew)."""
    try:
        about = read_json(index, {SEAL})
        images = np.load(index.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
        if _checksum(images) != about["checksum"]:
            return None
    except Exception:  # of many kinds, for damaged files
        return None
    train, test, val = (
        np.asarray(about[f"{part}_labels"], dtype=np.int64) for part in ("train", "test", "val")
    )
    first, second = len(train), len(train) + len(test)
    return Source(
        about["name"], images[:first], train, images[first:second], test,
        tuple(about["classes"]), about["origin"], images[second:], val, about["note"],
    )  # fmt: skip
