"""A stream whose tasks are drawn: classes, noise and the order of channels (LASEM on STL-10)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Unpack

import numpy as np
import torch
from numpy.typing import NDArray

from lifelong.data.seeds import derive
from lifelong.data.sources.source import Source
from lifelong.data.stream import StreamOptions, TaskStream
from lifelong.data.task import Images, Task

STEP = 0.025  # unit of the mean and deviation of the noise; images lie in [-0.5, 0.5]


@dataclass(frozen=True)
class Design:
    """What is drawn for a task.

    Attributes:
        classes: in label order.
        mean: of the noise, in units of the pixels' range.
        deviation: of the noise, likewise.
        channels: which channel of the image each channel of the task is.
    """

    classes: tuple[int, ...]
    mean: float
    deviation: float
    channels: tuple[int, ...]


def noisy_permuted(
    source: Source,
    *,
    shape: Sequence[int],
    tasks: int,
    classes_per_task: int,
    fraction: float,
    validation: float,
    design_seed: int = 0,
    release_split: bool = False,
    seed: int = 0,
    **stream: Unpack[StreamOptions],
) -> TaskStream:
    """Tasks of a few classes each, no set of classes twice, with noise and permuted channels.

    Noise is drawn once for every image of a task, added, cut to the pixels' range and kept in the
    images' own 8 bits; then the channels are permuted. Pixels are then in [-0.5, 0.5].

    Args:
        source: the images.
        shape: (c, h, w) that the images must have.
        tasks: number of tasks.
        classes_per_task: drawn for each task, in label order.
        fraction: of the training images of a class to use for a task, in (0, 1].
        validation: share of those kept for validation, rounded up, in [0, 1).
        design_seed: of classes, noise and order of channels; the runs of a study share it.
        release_split: draw the images with seed 0 whatever `seed` is.
        seed: of the draw of images and of the noise.
        **stream: see `TaskStream`.

    Raises:
        ValueError: options that do not fit the source, by name.

    >>> from lifelong.data.sources import digits
    >>> stream = noisy_permuted(digits(), shape=(1, 8, 8), tasks=3, classes_per_task=2,
    ...                         fraction=0.5, validation=0.2, name="noisy", batch_size=8)
    >>> [len(task.classes) for task in stream.tasks]
    [2, 2, 2]
    """
    if tuple(shape) != source.shape:
        raise ValueError(
            f"data.shape={list(shape)}: the images of {source.name} are {list(source.shape)}"
        )
    for option, value, right in (
        ("fraction", fraction, 0 < fraction <= 1),
        ("validation", validation, 0 <= validation < 1),
    ):
        if not right:
            raise ValueError(f"data.{option}={value}: give a share from 0 to 1")
    made: list[Task] = []
    draw = 0 if release_split else seed
    for index, design in enumerate(
        designs(len(source.classes), shape[0], tasks, classes_per_task, design_seed)
    ):
        parts: list[list[NDArray[np.int64]]] = [[], [], []]
        for label in design.classes:
            rows = np.flatnonzero(source.train_labels == label)
            np.random.default_rng(derive(draw, "images", index, label)).shuffle(rows)
            rows = rows[: round(fraction * len(rows))]
            val = math.ceil(validation * len(rows))
            parts[0].append(rows[val:])
            parts[1].append(rows[:val])
            parts[2].append(np.flatnonzero(source.test_labels == label))
        random = np.random.default_rng(derive(draw, "noise", index))
        sets = [
            _images(images, rows, index, design, random)
            for images, rows in zip(
                (source.train_images, source.train_images, source.test_images), parts, strict=True
            )
        ]
        made.append(Task(index, f"task {index + 1}", design.classes, sets[0], sets[1], sets[2]))
    return TaskStream(made, origin=source.origin, **stream)


def designs(classes: int, channels: int, tasks: int, size: int, seed: int) -> list[Design]:
    """Draws the tasks: classes, mean -2..1 and deviation 0..1 steps of noise, order of channels.

    Raises:
        ValueError: more tasks than there are sets of classes.
    """
    most = math.comb(classes, size) if 0 < size <= classes else 0
    if not 1 <= tasks <= most:
        raise ValueError(
            f"data.tasks={tasks}: {classes} classes have {most} sets of "
            f"data.classes_per_task={size}; give from 1 to that"
        )
    random = np.random.default_rng(derive(seed, "designs"))
    orders = list(itertools.permutations(range(channels)))
    used: set[frozenset[int]] = set()
    made: list[Design] = []
    while len(made) < tasks:
        drawn = tuple(int(label) for label in random.choice(classes, size, replace=False))
        if frozenset(drawn) in used:
            continue
        used.add(frozenset(drawn))
        mean, deviation = STEP * int(random.integers(-2, 2)), STEP * int(random.integers(0, 2))
        made.append(Design(drawn, mean, deviation, orders[int(random.integers(len(orders)))]))
    return made


def _images(
    images: NDArray[np.uint8],
    rows: list[NDArray[np.int64]],
    index: int,
    design: Design,
    random: np.random.Generator,
) -> Images:
    picked = images[np.concatenate(rows)]
    if design.mean or design.deviation:
        for start in range(0, len(picked), 256):  # in parts: the noise is wider than the images
            part = picked[start : start + 256].astype(np.float32)
            part += 255 * design.mean
            if design.deviation:
                part += 255 * design.deviation * random.standard_normal(part.shape, np.float32)
            picked[start : start + 256] = np.rint(part).clip(0, 255)
    x = torch.from_numpy(np.ascontiguousarray(picked[:, list(design.channels)]))
    y = torch.from_numpy(np.repeat(np.arange(len(rows)), [len(part) for part in rows]))
    mean, std = torch.full((x.shape[1],), 127.5), torch.full((x.shape[1],), 255.0)
    return Images(x, y, torch.full((len(y),), index), mean, std)
