"""Changes of images as they are served, a batch at a time, on the device where the images lie.

A transform takes pixels (b, c, h, w) as floats in stored units and a generator on the CPU, and
draws anew for each image. Those for testing draw nothing. One that says `takes_stored` takes the
pixels as they are stored, which are bytes for the most part, and gives them back so.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from lifelong.data.generators import seed_all, undisturbed

Transform = Callable[[Tensor, Generator], Tensor]

FAR = 32.0  # deviations of no normalised image
TRIES = 10  # boxes drawn for a crop before the middle is taken, as torchvision does


def takes_stored(transform: Transform) -> bool:
    """Whether a transform says so itself: one that stands on ours may do other things, too."""
    says = "takes_stored" in vars(type(transform))
    return says and getattr(transform, "takes_stored", False)


def _mirrored(x: Tensor, which: Tensor) -> Tensor:
    """Some images mirrored, (b,) bool."""
    if x.device.type != "cpu":
        return torch.where(which.to(x.device).view(-1, 1, 1, 1), x.flip(3), x)
    found, rows = _quick(x).copy("K"), _quick(which)
    found[rows] = np.flip(found[rows], 3)
    return torch.from_numpy(found)


def _check(option: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"data: a transform's {option}={value}: give {least} or more")


class Flip:
    """Every image mirrored, left and right exchanged, with probability 1/2."""

    takes_stored = True

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        return _mirrored(x, torch.rand(len(x), generator=generator) < 0.5)


class Pad:
    """Black borders.

    Args:
        padding: pixels on each side.
    """

    takes_stored = True

    def __init__(self, padding: int) -> None:
        _check("padding", padding, 0)
        self.padding = padding

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        return F.pad(x, [self.padding] * 4)


class CenterCrop:
    """The shorter side brought to `resize` pixels, bilinear with anti-aliasing; then the middle.

    Args:
        size: side of the square that is cut.
        resize: see above.
    """

    def __init__(self, size: int, resize: int) -> None:
        _check("size", size, 1)
        _check("resize", resize, size)
        self.size, self.resize = size, resize

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        x = resized(x, self.resize)
        top, left = (round((side - self.size) / 2) for side in x.shape[2:])
        return x[:, :, top : top + self.size, left : left + self.size]


class RandomCrop:
    """A square at a random place, and mirrored with probability 1/2.

    Args:
        size: side of the square.
        padding: black pixels put on each side first.
        resize: length to which the shorter side is brought before; null to leave the images.
        flip: whether to mirror.
    """

    def __init__(
        self, size: int, padding: int = 0, resize: int | None = None, flip: bool = True
    ) -> None:
        _check("size", size, 1)
        _check("padding", padding, 0)
        self.size, self.padding, self.resize, self.flip = size, padding, resize, flip

    @property
    def takes_stored(self) -> bool:
        return self.resize is None

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        x = x if self.resize is None else resized(x, self.resize)
        (b, c, h, w), p, size = x.shape, self.padding, self.size
        room = h + 2 * p - size, w + 2 * p - size
        if min(room) < 0:
            raise ValueError(
                f"data: a transform's size={size}: the images are {[h + 2 * p, w + 2 * p]}"
            )
        top, left = (torch.randint(0, most + 1, (b, 1), generator=generator)[:, 0] for most in room)
        if self.flip:  # and cut at the mirrored place: what is cut out is mirrored
            which = torch.rand(b, generator=generator) < 0.5
            x, left = _mirrored(x, which), torch.where(which, room[1] - left, left)
        whole = x.new_zeros(b, h + 2 * p, w + 2 * p, c)
        inside, source = _quick(whole)[:, p : p + h, p : p + w], _quick(x)
        if x.device.type == "cpu":  # where bytes of one channel after the other are quicker
            for channel in range(c):
                inside[..., channel] = source[:, channel]
        else:
            inside.copy_(x.permute(0, 2, 3, 1))
        image, row, column, _ = whole.stride()
        windows = whole.as_strided(
            (b, room[0] + 1, room[1] + 1, size, size * c), (image, row, column, row, 1)
        )  # every square, of which one is taken out
        chosen = torch.arange(b, device=x.device), top.to(x.device), left.to(x.device)
        cut = torch.as_tensor(_quick(windows)[tuple(map(_quick, chosen))])
        return cut.view(b, size, size, c).permute(0, 3, 1, 2)


def _quick(x: Tensor) -> Any:
    """The same numbers as an array on the CPU: NumPy moves bytes several times as fast."""
    return x.numpy() if x.device.type == "cpu" else x


class Library:
    """Transforms of torchvision (`transforms.v2`), of kornia, or of one's own, one after the other.

    They draw from PyTorch's, NumPy's and Python's global generators, which are seeded from the
    stream's before and put back after: so a run that goes on draws what it would have drawn.

    Args:
        transforms: callables. Those of torchvision take uint8 (c, h, w), an image at a time; those
            of kornia take (b, c, h, w) in [0, 1]. Others: as `each` says, in [0, 1].
        each: whether callables of neither library draw once for what they are given, so that they
            are asked image by image, as (c, h, w); else with (b, c, h, w).
        unit: value of white in the images; another than 255: those of torchvision take float32 in
            [0, 1], too.

    Raises:
        ValueError: one that cannot be called, or that gives images of other channels or shapes, or
            values of another range.

    >>> import torch
    >>> from torchvision.transforms import v2
    >>> drawn = Library([v2.RandomInvert(p=0.5)])(torch.zeros(8, 1, 4, 4), torch.Generator())
    >>> sorted(drawn.unique().tolist())
    [0.0, 255.0]
    """

    def __init__(
        self,
        transforms: Sequence[Callable[[Tensor], Tensor]],
        each: bool = True,
        unit: float = 255.0,
    ) -> None:
        wrong = [one for one in transforms if not callable(one)]
        if wrong or not transforms:
            raise ValueError(
                f"data: a transform's transforms={wrong}: give callables, such as "
                "[{_target_: torchvision.transforms.v2.RandAugment}]"
            )
        self.transforms, self.each, self.unit = list(transforms), each, unit

    def __repr__(self) -> str:
        return f"Library({self.transforms}, each={self.each}, unit={self.unit})"

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        with _seeded(generator):
            for transform in self.transforms:
                x = self._changed(transform, x) if len(x) else x
        return x

    def _changed(self, transform: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        home = type(transform).__module__.partition(".")[0]
        whole = home == "torchvision"
        bytes_ = whole and self.unit == 255
        given = x.round().clamp(0, 255).to(torch.uint8) if bytes_ else x / self.unit
        if whole or (self.each and home != "kornia"):
            found = torch.stack([transform(image) for image in given])
        else:
            found = transform(given)
        if found.dim() != 4 or found.shape[:2] != x.shape[:2]:
            raise ValueError(
                f"data: the transform {type(transform).__name__} made {list(found.shape)} of "
                f"{list(x.shape)}; images and channels must stay as many"
            )
        if found.dtype == torch.uint8:
            return found.float() * (self.unit / 255)
        if float(found.detach().abs().max()) > FAR:
            raise ValueError(
                f"data: the transform {type(transform).__name__} made values up to "
                f"{float(found.abs().max()):g} of images in [0, 1]; let it scale them, such as "
                "ToDtype(torch.float32, scale=True)"
            )
        return self.unit * found


@contextmanager
def _seeded(generator: Generator) -> Iterator[None]:
    """Within, the global generators draw what follows from the next number of another."""
    seed = int(torch.randint(2**31, (), generator=generator))
    with undisturbed():
        seed_all(seed)
        yield


class RandomResizedCrop:
    """A box of random size and place brought to a square; mirrored with probability 1/2.

    The box's share of the area is uniform in `scale`, its aspect ratio log-uniform in `ratio`, as
    in torchvision. Bilinear without anti-aliasing: meant for images no larger than the square.

    Args:
        size: side of the square.
        scale: least and most share of the area.
        ratio: least and most aspect ratio.
        flip: whether to mirror.
    """

    def __init__(
        self,
        size: int,
        scale: Sequence[float] = (0.08, 1.0),
        ratio: Sequence[float] = (3 / 4, 4 / 3),
        flip: bool = True,
    ) -> None:
        _check("size", size, 1)
        for name, pair in (("scale", scale), ("ratio", ratio)):
            if len(pair) != 2 or not 0 < pair[0] <= pair[1]:
                raise ValueError(
                    f"data: a transform's {name}={list(pair)}: give a least and a most above 0"
                )
        self.size, self.scale, self.ratio, self.flip = size, scale, ratio, flip

    def __call__(self, x: Tensor, generator: Generator) -> Tensor:
        h, w = x.shape[2:]
        top, left, height, width = self.boxes(h, w, len(x), generator)
        steps = (torch.arange(self.size) + 0.5) / self.size  # (size,) in (0, 1)
        rows = (top + steps * height).clamp(top + 0.5, top + height - 0.5)  # (b, size)
        columns = (left + steps * width).clamp(left + 0.5, left + width - 0.5)
        if self.flip:  # by looking at the box from its other side
            which = torch.rand(len(x), generator=generator) < 0.5
            columns = torch.where(which[:, None], columns.flip(1), columns)
        places = torch.stack([2 * columns / w - 1, 2 * rows / h - 1, torch.zeros_like(rows)])
        across, down, none = places.to(x.device)
        pairs = torch.complex(across, none)[:, None] + torch.complex(none, down)[..., None]
        return F.grid_sample(x, torch.view_as_real(pairs), align_corners=False)

    def boxes(self, h: int, w: int, count: int, generator: Generator) -> tuple[Tensor, ...]:
        """Top, left, height and width of boxes in images of h x w pixels, each (count, 1)."""
        # in NumPy, whose steps over so few numbers take a third of the time
        drawn = torch.empty(count, TRIES).uniform_(*self.scale, generator=generator)
        area = h * w * drawn.numpy()
        low, high = (math.log(value) for value in self.ratio)
        drawn = torch.empty(count, TRIES).uniform_(low, high, generator=generator)
        ratio = drawn.exp_().numpy()
        widths, heights = np.sqrt(area * ratio).round(), np.sqrt(area / ratio).round()
        fits = (widths >= 1) & (widths <= w) & (heights >= 1) & (heights <= h)
        first = np.arange(count), fits.argmax(1)  # of those that fit
        width, height, some = widths[first], heights[first], fits[first]
        if not some.all():  # the middle
            aspect = min(max(w / h, self.ratio[0]), self.ratio[1])
            width[~some] = min(w, round(h * aspect))
            height[~some] = min(h, round(w / aspect))
        room = torch.rand(count, 2, generator=generator).numpy()
        top = np.floor(np.where(some, room[:, 0] * (h - height + 1), (h - height) / 2))
        left = np.floor(np.where(some, room[:, 1] * (w - width + 1), (w - width) / 2))
        return tuple(torch.from_numpy(each)[:, None] for each in (top, left, height, width))


def resized(x: Tensor, side: int) -> Tensor:
    """Images whose shorter side is `side`, bilinear with anti-aliasing."""
    shorter = min(x.shape[2:])
    if shorter == side:
        return x
    sizes = [int(side * length / shorter) for length in x.shape[2:]]
    return F.interpolate(x, sizes, mode="bilinear", antialias=True)
