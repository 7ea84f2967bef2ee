"""Images that stay in a file: read when a batch asks for them, ahead of the step."""

from __future__ import annotations

import os
import weakref
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

T = TypeVar("T")
Place = Literal["auto", "device", "host", "disk"]
AHEAD = 4  # batches whose images are read before they are asked for
CHUNK = 4096  # images that are in memory at once where all are gone through


class ImageFile:
    """A file of NumPy's (.npy) with images uint8 (n, c, h, w).

    Args:
        path: of the file.

    Raises:
        ValueError: a file of another kind.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            self.shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            self.begin = file.tell()
        if fortran or dtype != np.uint8:
            raise ValueError(f"{path}: holds {dtype}; give uint8 in C's order")
        self.size = int(np.prod(self.shape[1:]))  # bytes of an image

    def __deepcopy__(self, memo: dict[int, Any]) -> ImageFile:
        return self

    @cached_property
    def _opened(self) -> int:
        number = os.open(self.path, os.O_RDONLY)
        weakref.finalize(self, os.close, number)
        return number

    def read(self, row: int, into: memoryview) -> None:
        """One image. Read, not mapped: what is mapped counts as memory of the process."""
        wanted = os.preadv(self._opened, [into], self.begin + row * self.size)
        if wanted != self.size:
            raise ValueError(
                f"{self.path}: ends before image {row}; it was cut off since the start"
            )


class StoredPixels:
    """Pixels uint8 (n, c, h, w) that stay in files; indexed like a tensor by rows.

    Args:
        files: with images of one shape.
        which: int64 (n,), the file of each image.
        rows: int64 (n,), its row there.
    """

    device = torch.device("cpu")
    dtype = torch.uint8

    def __init__(self, files: Sequence[ImageFile], which: Tensor, rows: Tensor) -> None:
        self.files, self.which, self.rows = list(files), which, rows
        self.shape = torch.Size((len(rows), *self.files[0].shape[1:]))

    @staticmethod
    def of(file: ImageFile, rows: Tensor) -> StoredPixels:
        """Some rows of one file."""
        return StoredPixels([file], torch.zeros_like(rows), rows)

    @staticmethod
    def joined(parts: Sequence[StoredPixels]) -> StoredPixels:
        """All rows of several."""
        files = list({id(file): file for part in parts for file in part.files}.values())
        which = []
        for part in parts:
            places = torch.tensor([files.index(file) for file in part.files])
            which.append(places[part.which])
        return StoredPixels(files, torch.cat(which), torch.cat([part.rows for part in parts]))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Bytes in the files."""
        return len(self) * self.files[0].size

    def part(self, rows: Tensor) -> StoredPixels:
        """Some of the rows; nothing is read."""
        return StoredPixels(self.files, self.which[rows], self.rows[rows])

    def __getitem__(self, rows: Any) -> Tensor:
        """The images at some rows, or the one at a number."""
        return self.read(torch.tensor([rows]))[0] if isinstance(rows, int) else self.read(rows)

    def read(self, rows: Tensor, pinned: bool = False) -> Tensor:
        """The images at some rows, also in pinned memory, from where a GPU fetches them."""
        which, places = self.which[rows].tolist(), self.rows[rows].tolist()
        made = torch.empty((len(places), *self.shape[1:]), dtype=self.dtype, pin_memory=pinned)
        bytes_of = made.numpy().reshape(-1).data
        for number, (file, row) in enumerate(zip(which, places, strict=True)):
            size = self.files[file].size
            self.files[file].read(row, bytes_of[number * size : (number + 1) * size])
        return made

    def chunks(self) -> Iterator[Tensor]:
        """All images, some thousands at a time."""
        for rows in torch.arange(len(self)).split(CHUNK):
            if len(rows):
                yield self[rows]

    def checksum(self, value: int = 0) -> int:
        """Of all pixels, as if they were in memory, going on from `value`."""
        for chunk in self.chunks():
            value = zlib.crc32(chunk.numpy().reshape(-1).data, value)
        return value

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation per channel, each (c,), from exact counts of each value."""
        counts = torch.zeros(self.shape[1], 256, dtype=torch.long)
        for chunk in self.chunks():
            for channel, values in enumerate(chunk.transpose(0, 1).flatten(1)):
                counts[channel] += torch.bincount(values, minlength=256)
        values, shares = torch.arange(256.0).double(), counts.double() / counts.sum(1, keepdim=True)
        mean = shares @ values  # (c,)
        centred = (values - mean[:, None]).square()
        return mean, (shares * centred).sum(1).sqrt()


def memory() -> int:
    """Bytes of the machine, or of the group of processes that this one belongs to."""
    whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with suppress(OSError, ValueError):  # no such limit
        return min(whole, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return whole


def begun_ahead(drawn: Iterable[T], begin: Callable[[T], T]) -> Iterator[T]:
    """The items drawn, each begun `AHEAD` items before its turn."""
    waiting: deque[T] = deque()
    for item in drawn:
        waiting.append(begin(item))
        if len(waiting) > AHEAD:
            yield waiting.popleft()
    yield from waiting


@cache
def reader() -> ThreadPoolExecutor:
    """The thread that reads ahead."""
    return ThreadPoolExecutor(1, "images")
