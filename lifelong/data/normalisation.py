"""Images standardised: by statistics of their own, or by fixed ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from lifelong.data.stored import StoredPixels
from lifelong.data.task import Images

Standardize = Literal[
    "split",
    "train",
    "none",
    "signed",
    "imagenet",
    "cifar10",
    "cifar100",
    "mnist",
    "padded_mnist",
    "tag_cub",
]
# Mean and deviation of RGB in [0, 1] that do not depend on the images.
_FIXED: dict[Standardize, tuple[Sequence[float], Sequence[float]]] = {
    "none": ([0.0], [1.0]),
    "signed": ([0.5], [0.5]),
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
    "cifar10": ([0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
    "cifar100": ([0.5071, 0.4866, 0.4409], [0.2009, 0.1984, 0.2023]),
    "mnist": ([0.1307], [0.3081]),
    "padded_mnist": ([0.1], [0.2752]),  # with a black border of two pixels
    # The means of blue, green, red off red, green, blue of 0 to 255; then 2 (x - 1/2).
    "tag_cub": ([(m + 0.5) / 255 for m in (103.94, 116.78, 123.68)], [0.5 / 255]),
}


def standardized(
    pixels: Tensor | StoredPixels,
    labels: Tensor,
    index: int,
    reference: Tensor | StoredPixels,
    how: Standardize,
) -> Images:
    """The images of a split of task `index`, standardised.

    Args:
        pixels: (n, c, h, w).
        labels: (n,) within the task.
        index: of the task.
        reference: images whose statistics are taken, where `how` asks for some.
        how: see `by_class`.
    """
    if how not in get_args(Standardize):
        raise ValueError(f"data.standardize={how}: give {' or '.join(get_args(Standardize))}")
    t = torch.full((len(labels),), index)
    scale, channels = 255.0 if pixels.dtype == torch.uint8 else 1.0, pixels.shape[1]
    if how not in _FIXED and len(reference):
        return Images(pixels, labels, t, *moments(reference, scale))
    mean, std = (scale * torch.tensor(values) for values in _FIXED.get(how, _FIXED["none"]))
    if max(len(mean), len(std)) not in (1, channels):
        raise ValueError(f"data.standardize={how}: is for images of three channels")
    return Images(pixels, labels, t, mean.expand(channels), std.expand(channels))


def moments(images: Tensor | StoredPixels, scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Mean and deviation per channel of (n, c, h, w), in stored units, each (c,).

    The deviation is at least `scale` / sqrt(n h w), as in TensorFlow's standardisation.
    """
    floor = scale / (len(images) * math.prod(images.shape[2:])) ** 0.5
    if isinstance(images, StoredPixels):
        mean, deviation = images.moments()
    else:
        values = images.double().transpose(0, 1).flatten(1)  # (c, n h w)
        mean, deviation = values.mean(1), values.std(1, correction=0)
    return mean, deviation.clamp(min=floor)
