"""What a source returns, and its prepared copy on disk."""

from __future__ import annotations

import hashlib
import math
import os
import zlib
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lifelong.data.sources.tree import left_by_programs, walked
from lifelong.data.stored import CHUNK, ImageFile, Place, StoredPixels, memory
from lifelong.errors import plain
from lifelong.storage.files import SEAL, read_json, sealed, write_json, write_with
from lifelong.storage.locks import in_turn, remove_leftovers

Part = Literal["train", "test", "val"]
FORMAT = 4  # of the prepared copies; a new number makes them anew

_scratch: ContextVar[Path | None] = ContextVar("scratch", default=None)  # folder for `room`


@dataclass(frozen=True)
class Source:
    """A data set as arrays.

    Images are uint8 (n, c, h, w), labels int64 (n,) numbering `classes`. Where there are validation
    images they are a part of their own; else streams keep some training images for validation.

    Attributes:
        file: of the prepared copy, with the images for training, testing and validation in turn.

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
    file: ImageFile | None = None

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

    def stays_on_disk(self, where: Place) -> bool:
        """Whether images are read from the file batch by batch, as `TaskStream` says.

        Raises:
            ValueError: they are to, and there is no file.
        """
        if where == "disk" and self.file is None:
            raise ValueError(
                f"data.images_on=disk: the images of {self.name} are in no prepared copy; give "
                "auto, or a folder that can be written as paths.data_dir"
            )
        arrays = (self.train_images, self.test_images, self.val_images)
        size = sum(images.nbytes for images in arrays)
        large = where == "auto" and self.file is not None and size > memory() / 2
        return where == "disk" or large

    def pixels(self, part: Part, rows: NDArray[np.int64], stay: bool) -> Tensor | StoredPixels:
        """Some images of a part, (n, c, h, w); in memory, or as they `stay` in the file."""
        if not stay or self.file is None:
            images: NDArray[np.uint8] = getattr(self, f"{part}_images")
            return torch.from_numpy(images[rows])
        before = {"train": 0, "test": len(self.train_labels)}
        first = before.get(part, len(self.train_labels) + len(self.test_labels))
        return StoredPixels.of(self.file, torch.from_numpy(rows) + first)


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
    share += 1e-9  # of a whole number of images that is an image less in binary
    if not 0 < int(count * share) < count:
        raise ValueError(
            f"{whose} has {count} images, which data.test={share:.6g} does not divide into "
            "training and test images; give more, or another data.test"
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
            folder_of = _scratch.set(index.parent)
            try:
                source = read()
            finally:
                _scratch.reset(folder_of)
            with suppress(OSError):
                _store(index, source)
            found = _load(index) or source
    return found


def room(shape: Sequence[int]) -> NDArray[np.uint8]:
    """An array uint8 to read images into: in memory, or in a file where they would fill it."""
    if math.prod(shape) <= memory() / 4:
        return np.empty(tuple(shape), dtype=np.uint8)
    folder = _scratch.get()
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder) as file:  # which is gone with the array
        return np.memmap(file, np.uint8, "w+", shape=tuple(shape))


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
    files = [origin]
    if origin.is_dir():
        files = [
            origin / path for path in walked(origin) if not any(map(left_by_programs, path.parts))
        ]
    for path in (*files, *(file for file in beside if file.exists())):
        with suppress(OSError):  # a link to nothing
            status = path.stat()
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]


def _store(index: Path, source: Source) -> None:
    parts = [source.train_images, source.test_images]
    parts += [source.val_images] * source.has_validation
    remove_leftovers(index.parent)
    checksums: list[int] = []
    write_with(index.with_suffix(".npy"), lambda path: checksums.append(_save(path, parts)))
    about = {
        "name": source.name,
        "origin": source.origin,
        "classes": list(source.classes),
        "note": source.note,
        "checksum": checksums[0],
        "train_labels": source.train_labels.tolist(),
        "test_labels": source.test_labels.tolist(),
        "val_labels": source.val_labels.tolist(),
    }
    write_json(index, sealed(about))


def _save(path: Path, parts: Sequence[NDArray[np.uint8]]) -> int:
    """Writes the images of several arrays as one; gives their checksum."""
    header: dict[str, Any] = np.lib.format.header_data_from_array_1_0(parts[0])
    header["shape"] = (sum(map(len, parts)), *parts[0].shape[1:])
    value = 0
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {**header, "fortran_order": False})
        for images in parts:
            for first in range(0, len(images), CHUNK):
                chunk = np.ascontiguousarray(images[first : first + CHUNK]).reshape(-1).data
                value = zlib.crc32(chunk, value)
                file.write(chunk)
    return value


def _checksum(path: Path) -> int:
    """Of the images in a file that `_save` wrote."""
    value, buffer = 0, memoryview(bytearray(2**24))
    with path.open("rb", buffering=0) as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        while count := file.readinto(buffer):
            value = zlib.crc32(buffer[:count], value)
    return value


def _load(index: Path) -> Source | None:
    """The prepared copy, or None if it is missing or damaged (it is then made anew)."""
    try:
        about, path = read_json(index, {SEAL}), index.with_suffix(".npy")
        if _checksum(path) != about["checksum"]:
            return None
        images = np.load(path, mmap_mode="r", allow_pickle=False)
        file = ImageFile(path)
    except Exception:  # of many kinds, for damaged files
        return None
    train, test, val = (
        np.asarray(about[f"{part}_labels"], dtype=np.int64) for part in ("train", "test", "val")
    )
    first, second = len(train), len(train) + len(test)
    return Source(
        about["name"], images[:first], train, images[first:second], test,
        tuple(about["classes"]), about["origin"], images[second:], val, about["note"], file,
    )  # fmt: skip
