"""What a method sees of the data: a batch, the images of a split, a task, a visit to it."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

from lifelong.data.stored import StoredPixels, reader
from lifelong.data.transforms import Transform, takes_stored

NO_CHANCE = torch.Generator()  # for transforms that draw nothing
NO_ROWS = torch.zeros(0, dtype=torch.long)
MANY, FEW = 500, 64  # images that a network answers at a time, at most and at least
IN_CACHE = 2**18  # numbers in a batch of images; of more, activations leave a CPU's caches


class Batch(NamedTuple):
    """What a loader yields and every loss takes.

    `t` and `row` stay on the CPU: which layers and heads are used, and what a memory keeps, is
    decided there, without waiting for the device.

    >>> import torch
    >>> batch = Batch(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]), torch.tensor([3, 3]))
    >>> batch.x.shape, batch.t.tolist()
    (torch.Size([2, 1, 8, 8]), [3, 3])
    """

    x: Tensor  # (b, c, h, w) float
    y: Tensor  # (b,) label within the task, from 0
    t: Tensor  # (b,) task index, from 0, on the CPU
    row: Tensor = NO_ROWS  # (b,) place among the training images of the task, on the CPU


class Rows(NamedTuple):
    """Indices of images: for what is kept on the CPU, and the same where batches are made."""

    host: Tensor  # (b,)
    here: Tensor  # (b,)
    pixels: Future[Tensor] | None = None  # being read


class Images(Dataset[Batch]):
    """The labelled images of one split of one task; indexed by many indices at once.

    Args:
        x: uint8 or float32 (n, c, h, w), as stored; in memory or in a file. Labels lie where
            batches are made, pixels there or apart.
        y: int64 (n,), labels within the task.
        t: int64 (n,), task indices.
        mean: per channel (c,), in units of the stored values.
        std: per channel (c,), likewise. A batch is `(x - mean) / std`.

    Attributes:
        row: int64 (n,), place of each image in its split of its task, on the CPU.
        scale: 1 / std, (c, 1, 1); where images of several splits are joined, (n, c, 1, 1).
        shift: -mean / std, likewise.
        transform: of the pixels of every batch before they are normalised; draws nothing.
        augment: of training batches in its place, which draws anew for each image.
        dtype: of the pixels of every batch, which are normalised in 32 bits.
        features: (n, f), which batches hold in place of pixels; None: pixels.

    >>> import torch
    >>> images = Images(torch.zeros(9, 1, 8, 8), torch.arange(9), torch.zeros(9).long())
    >>> images[torch.tensor([4, 2])].y
    tensor([4, 2])
    """

    def __init__(
        self,
        x: Tensor | StoredPixels,
        y: Tensor,
        t: Tensor,
        mean: Tensor | None = None,
        std: Tensor | None = None,
    ) -> None:
        channels = x.shape[1]
        mean = torch.zeros(channels) if mean is None else mean
        std = torch.ones(channels) if std is None else std
        self.x: Any = x  # Tensor | StoredPixels
        self.y, self.t = y, t
        self.row = torch.arange(len(y))
        self.transform: Transform | None = None
        self.augment: Transform | None = None
        self.dtype = torch.float32
        self.features: Tensor | None = None
        self.scale = (1 / std.double()).float().view(-1, 1, 1)  # (c, 1, 1)
        self.shift = (-mean.double() / std.double()).float().view(-1, 1, 1)  # (c, 1, 1)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, indices: Tensor) -> Batch:
        """The images at `indices` (int64, on the CPU), normalised on the device they live on."""
        return self.get_batch(self.rows(indices), self.transform, NO_CHANCE)

    def portions(self, device: torch.device | None = None) -> tuple[Tensor, ...]:
        """Indices of all images, int64 on the CPU, as many at a time as are answered fast.

        On a CPU those are few, so that what a network computes of them stays in its caches.

        Args:
            device: that is going to compute; None for that of the images.

        >>> labels = torch.zeros(90).long()
        >>> [len(rows) for rows in Images(torch.zeros(90, 3, 84, 84), labels, labels).portions()]
        [64, 26]
        """
        many, first = MANY, self.x if self.features is None else self.features
        if (device or self.y.device).type == "cpu":
            many = min(MANY, max(FEW, IN_CACHE // math.prod(first.shape[1:])))
        return torch.arange(len(self)).split(many) if len(self) else ()

    def rows(self, indices: Tensor) -> Rows:
        """Indices on the CPU, there and where batches are made."""
        return Rows(indices, indices.to(self.y.device))

    @property
    def apart(self) -> bool:
        """Whether pixels lie in a file, or elsewhere than where batches are made."""
        return isinstance(self.x, StoredPixels) or self.x.device != self.y.device

    def begun(self, rows: Rows) -> Rows:
        """Rows whose pixels are being read."""
        return rows._replace(pixels=reader().submit(self.read, rows.host)) if self.apart else rows

    def read(self, indices: Tensor) -> Tensor:
        """Pixels that lie apart, by indices on the CPU; in pinned memory where they go to a GPU."""
        pinned = self.y.device.type == "cuda"
        if isinstance(self.x, StoredPixels):
            return self.x.read(indices, pinned)
        x: Tensor = self.x.index_select(0, indices)
        return x.pin_memory() if pinned else x

    def _pixels(self, rows: Rows) -> Tensor:
        if not self.apart:
            return cast(Tensor, self.x.index_select(0, rows.here))
        found = self.read(rows.host) if rows.pixels is None else rows.pixels.result()
        return found.to(self.y.device, non_blocking=True)

    def get_batch(
        self, rows: Rows, transform: Transform | None, generator: torch.Generator
    ) -> Batch:
        """As `images[indices]` under another transform."""
        indices, here = rows.host, rows.here
        if self.features is not None:
            return Batch(
                self.features.index_select(0, here).to(self.dtype), self.y[here], self.t[indices],
                self.row[indices],
            )  # fmt: skip
        x = self._pixels(rows)
        if transform is not None:
            x = transform(x if takes_stored(transform) else x.float(), generator)
        normalised = self._normalised(x.float(), here).to(self.dtype)
        return Batch(normalised, self.y[here], self.t[indices], self.row[indices])

    def _normalised(self, x: Tensor, here: Tensor) -> Tensor:
        shift, scale = self.shift, self.scale
        if shift.dim() == 4:
            return torch.addcmul(shift[here], x, scale[here])
        if x.device.type == "cpu":  # there, moments spread over all pixels take vector units
            shift, scale = _spread(shift, scale, x.shape[1:], x.stride()[1:])
        return torch.addcmul(shift, x, scale)

    def part(self, rows: Tensor) -> Images:
        """Some of the images, (n,) indices on the CPU, stored and served as these."""
        here = rows.to(self.y.device)
        if isinstance(self.x, StoredPixels):
            pixels = self.x.part(rows)
        else:
            pixels = self.x.index_select(0, here.to(self.x.device))
        part = Images(pixels, self.y[here], self.t[rows]).served_as(self)
        part.row = self.row[rows]
        part.features = None if self.features is None else self.features.index_select(0, here)
        if self.scale.dim() == 4:
            part.scale, part.shift = self.scale[here], self.shift[here]
        return part

    def served_as(self, other: Images) -> Images:
        """These images, from now on transformed and normalised as others are."""
        for name in ("scale", "shift", "transform", "augment", "dtype"):
            setattr(self, name, getattr(other, name))
        return self

    def is_normalised_as(self, other: Images) -> bool:
        """Whether both have the same mean and deviation."""
        return torch.equal(self.scale, other.scale) and torch.equal(self.shift, other.shift)

    def moments(self) -> tuple[Tensor, Tensor]:
        """Scale and shift of each image, (n, c, 1, 1)."""
        size = (len(self), *self.scale.shape[-3:])
        return self.scale.expand(size), self.shift.expand(size)

    def checksum(self, value: int = 0) -> int:
        """Of pixels and labels as they are stored, going on from `value`."""
        tensors = [self.x, self.y]
        if isinstance(self.x, StoredPixels):
            value, tensors = self.x.checksum(value), [self.y]
        for tensor in tensors:
            value = zlib.crc32(tensor.cpu().contiguous().numpy().reshape(-1).data, value)
        return value

    def to(self, device: torch.device, apart: bool = False) -> Images:
        """The same images, of which batches are made on `device`.

        Args:
            device: where labels and pixels then are.
            apart: leave the pixels where they are; those in a file stay there.
        """
        stay = apart or isinstance(self.x, StoredPixels)
        for name in ("y", "scale", "shift", *(() if stay else ("x",))):
            setattr(self, name, getattr(self, name).to(device))
        if self.features is not None:
            self.features = self.features.to(device)
        return self

    @staticmethod
    def joined(parts: Sequence[Images]) -> Images:
        """All images of several splits, each normalised by its own mean and deviation."""
        first = parts[0]
        y, t = (torch.cat([getattr(part, name) for part in parts]) for name in "yt")
        if all(isinstance(part.x, StoredPixels) for part in parts):
            joined = Images(StoredPixels.joined([part.x for part in parts]), y, t)
        else:
            pixels = [part.x[:] for part in parts]
            together = len({x.device for x in pixels}) == 1
            home = pixels[0].device if together else first.y.device  # a file's are on the CPU
            joined = Images(torch.cat([x.to(home) for x in pixels]), y, t)
        joined.served_as(first)
        joined.row = torch.cat([part.row for part in parts])
        features = [part.features for part in parts if part.features is not None]
        joined.features = torch.cat(features) if len(features) == len(parts) else None
        alike = all(part is first or first.is_normalised_as(part) for part in parts)
        if not alike or first.scale.dim() == 4:
            scales, shifts = zip(*(part.moments() for part in parts), strict=True)
            joined.scale, joined.shift = torch.cat(scales), torch.cat(shifts)
        return joined


@lru_cache(maxsize=16)
def _spread(
    shift: Tensor, scale: Tensor, shape: torch.Size, stride: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Both for each pixel of an image in this layout, as long as it has no gaps."""
    reach = sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if reach + 1 != math.prod(shape):
        return shift, scale
    spread = (torch.empty_strided(shape, stride).copy_(each) for each in (shift, scale))
    return next(spread), next(spread)


@dataclass(frozen=True)
class Task:
    """One task: its classes and images, wherever in a stream it stands.

    Attributes:
        index: of the task, from 0; that of its batches.
        name: shown.
        classes: class number of each label of the task.
        train: images that are trained on.
        val: images that are held out of the training.
        test: images that no method sees.
        class_names: of each label.

    >>> import torch
    >>> part = Images(torch.zeros(6, 1, 8, 8), torch.arange(6) % 2, torch.zeros(6).long())
    >>> Task(0, "task 1", (4, 7), train=part, val=part, test=part).classes
    (4, 7)
    """

    index: int
    name: str
    classes: tuple[int, ...]
    train: Images
    val: Images
    test: Images
    class_names: tuple[str, ...] = ()

    @property
    def number(self) -> int:
        """Of the task, from 1: how commands, files and lines name it."""
        return self.index + 1

    def description(self) -> dict[str, Any]:
        """The task without its images, as plain values and tensors."""
        values = {name: getattr(self, name) for name in _PLAIN}
        moments = {"scale": self.test.scale.cpu(), "shift": self.test.shift.cpu()}
        return values | moments | {"shape": list(self.test.x.shape[1:])}

    @staticmethod
    def from_description(values: dict[str, Any]) -> Task:
        """The task that was described; each split holds one black image for its shape."""
        splits = []
        for _ in range(3):
            zero = torch.zeros(1, dtype=torch.long)
            images = Images(torch.zeros(1, *values["shape"]), zero, zero + values["index"])
            images.scale, images.shift = values["scale"], values["shift"]
            splits.append(images)
        plain = {name: values[name] for name in _PLAIN}
        return Task(**plain, train=splits[0], val=splits[1], test=splits[2])


_PLAIN = ("index", "name", "classes", "class_names")
