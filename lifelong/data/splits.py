"""Ways to turn the images of a source into a stream of tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lifelong.data.normalisation import Standardize, standardized
from lifelong.data.seeds import derive
from lifelong.data.sources.arrays import array_file, from_arrays
from lifelong.data.sources.folder import image_folder
from lifelong.data.sources.hugging_face import hugging_face
from lifelong.data.sources.source import Part, Source
from lifelong.data.stored import StoredPixels
from lifelong.data.stream import StreamOptions, TaskStream
from lifelong.data.task import Task

# LASEM's released tables round down at this one level (10 % of 500 images: 41 + 9 a class).
_RELEASE_COUNTS = {(500, 50): (41, 9)}


def by_class(
    source: Source | Any,
    y: Any = None,
    *,
    shape: Sequence[int] | None = None,
    classes: Sequence[Sequence[int | str]] | str | None = None,
    tasks: int | None = None,
    shuffle_classes: bool = False,
    class_seed: int | None = None,
    classes_per_task: int | None = None,
    shares: Sequence[float] | None = None,
    fraction: float = 1.0,
    images_per_class: int | None = None,
    per_class: Sequence[int] | None = None,
    validation: float = 1 / 6,
    standardize: Standardize = "train",
    release_split: bool = False,
    seed: int = 0,
    **stream: Unpack[StreamOptions],
) -> TaskStream:
    """A stream whose tasks are groups of classes.

    The training images of each class are shuffled once and cut into a validation pool (the share
    `validation`, or the images that the source has for it) and a training pool; every task that has
    the class takes the first images of both pools, so a class that recurs brings the same images.

    Args:
        source: the images; or an array of them, see `lifelong.data.sources.from_arrays`.
        y: labels of an array of images.
        shape: (c, h, w) that the images must have; null for what they have.
        classes: class numbers or names of each task in label order; or a text file with a class
            number a line, in the order in which they are met; or null. `tasks` is given with the
            last two.
        tasks: cut all classes into so many tasks of (nearly) equal size.
        shuffle_classes: draw which classes form a task; only with `tasks`.
        class_seed: of that draw; null for `seed`.
        classes_per_task: use only so many classes of each task, the first ones; null for all.
        shares: of the images of each class for training, validation and testing, each rounded
            down, for a source without a test part; replaces the next four.
        fraction: of the training images to use, validation images among them, in (0, 1].
        images_per_class: what `fraction` refers to; null for what the source has. A part of
            a data set then gives the same counts as the whole.
        per_class: training and validation images of each class; overrides the three above.
        validation: share of the images used that is kept for validation, in [0, 1). A source that
            has validation images of its own gives these instead, the share `fraction` of them.
        standardize: pixels to mean 0 and deviation 1 per channel with the statistics of each
            split itself (`split`), of the task's training images (`train`), of `imagenet`,
            `cifar10`, `cifar100`, `mnist` or `padded_mnist`; or to [-1, 1] (`signed`) or [0, 1]
            (`none`); `tag_cub`: as TAG's program has CUB's.
        release_split: draw the images with seed 0 whatever `seed` is, as official
            implementations that gave all trials the same images.
        seed: of the draw of images and classes.
        **stream: see `TaskStream`.

    Raises:
        ValueError: options that do not fit the source, by name.

    >>> from sklearn.datasets import load_digits
    >>> bunch = load_digits()
    >>> stream = by_class(bunch.images / 16, bunch.target, tasks=5)
    >>> [task.classes for task in stream.tasks]
    [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    """
    source = _source(source, y, shape)
    stay = source.stays_on_disk(stream.get("images_on", "auto"))
    drawn = derive(seed if class_seed is None else class_seed, "classes")
    if classes is not None and not isinstance(classes, str):  # arrays, too
        classes = [each.tolist() if isinstance(each, np.ndarray) else each for each in classes]
    groups = _groups(source, classes, tasks, drawn if shuffle_classes else None)
    groups = _cut_groups(groups, classes_per_task)
    _check_shares(fraction, validation)
    draw = 0 if release_split else seed
    train_rows, val_rows, test_rows = {}, {}, {}
    test_part: Part = "test" if shares is None else "train"
    val_part: Part = "val" if source.has_validation else "train"
    for label in sorted({label for group in groups for label in group}):
        rows = np.flatnonzero(source.train_labels == label)
        np.random.default_rng(derive(draw, "images", label)).shuffle(rows)
        if shares is not None:
            cuts = _cut(source, rows, shares)
            train_rows[label], val_rows[label], test_rows[label] = cuts
            continue
        if source.has_validation:
            held_out = np.flatnonzero(source.val_labels == label)
            counts = _own_counts(len(rows), len(held_out), fraction, per_class)
        else:
            pool = int(len(rows) * validation + 1e-9)
            rows, held_out = rows[pool:], rows[:pool]
            counts = _counts(len(rows) + pool, fraction, images_per_class, per_class, validation)
        _check_pools(source.classes[label], counts, len(rows), len(held_out))
        train_rows[label], val_rows[label] = rows[: counts[0]], held_out[: counts[1]]
        test_rows[label] = np.flatnonzero(source.test_labels == label)
    made = []
    for index, group in enumerate(groups):
        train, train_y = _gather(partial(source.pixels, "train", stay=stay), train_rows, group)
        val, val_y = _gather(partial(source.pixels, val_part, stay=stay), val_rows, group)
        test, test_y = _gather(partial(source.pixels, test_part, stay=stay), test_rows, group)
        if not len(test):
            raise ValueError(f"{source.name}: no test images for the classes of task {index + 1}")
        sets = [
            standardized(x, y, index, x if standardize == "split" else train, standardize)
            for x, y in ((train, train_y), (val, val_y), (test, test_y))
        ]
        names = tuple(source.classes[label] for label in group)
        made.append(
            Task(index, f"task {index + 1}", tuple(group), sets[0], sets[1], sets[2], names)
        )
    stream.setdefault("name", source.name)
    untested = [source.classes[label] for label, rows in test_rows.items() if not len(rows)]
    notes = [source.note, _numbers_told(source, classes or ()), _untested(untested)]
    return TaskStream(made, origin=source.origin, note="; ".join(filter(None, notes)), **stream)


def _source(source: Any, y: Any, shape: Sequence[int] | None) -> Source:
    if not isinstance(source, Source) and y is None:
        raise ValueError("y: give the labels of the images, by_class(images, labels, ...)")
    found: Source = source if isinstance(source, Source) else from_arrays((source, y))
    if shape is not None and tuple(shape) != found.shape:
        raise ValueError(
            f"data.shape={list(shape)}: the images of {found.name} are {list(found.shape)}"
        )
    return found


def folder(
    root: str, *, shape: Sequence[int], data_dir: str, test: float | str = 0.2, **split: Any
) -> TaskStream:
    """A stream over a user's own images; the other options are those of `by_class`.

    Args:
        root: a folder or zip file with `train/<class>/*` and `test/<class>/*`, or just
            `<class>/*`, of which every class then gives the share `test` for testing.
        shape: (c, h, w) to which images are brought: 1 channel is grey, 3 is RGB.
        data_dir: folder for the prepared copy.
        test: share of test images where the folder has no test part, in (0, 1); or a text file that
            names them, a path a line.
        **split: options of `by_class`.

    >>> from PIL import Image
    >>> root = getfixture("tmp_path") / "pets"
    >>> for name in ("cat", "dog"):
    ...     for number in range(10):
    ...         path = root / name / f"{number}.png"
    ...         path.parent.mkdir(parents=True, exist_ok=True)
    ...         Image.new("L", (8, 8), 20 * number).save(path)
    >>> data_dir = str(getfixture("tmp_path") / "data")
    >>> stream = folder(str(root), shape=(1, 8, 8), data_dir=data_dir, tasks=1, name="pets",
    ...                 batch_size=4)
    pets: ...
    >>> stream.tasks[0].class_names
    ('cat', 'dog')
    """
    source = image_folder(root, shape=shape, cache=data_dir, test=test)
    return by_class(source, shape=shape, **split)


def arrays(
    file: str, *, shape: Sequence[int], data_dir: str, test: float = 0.2, **split: Any
) -> TaskStream:
    """A stream over the images in a .npz file; the other options are those of `by_class`.

    Args:
        file: with arrays x_train and y_train, and maybe x_test and y_test, see `from_arrays`.
        shape: (c, h, w) to which images are brought.
        data_dir: folder for the prepared copy.
        test: share of test images where the file has no test part, in (0, 1).
        **split: options of `by_class`.

    >>> import numpy as np
    >>> file = getfixture("tmp_path") / "mine.npz"
    >>> np.savez(file, x=np.zeros((40, 8, 8), np.uint8), y=np.arange(40) % 4)
    >>> stream = arrays(str(file), shape=(1, 8, 8), data_dir=str(file.parent), tasks=2,
    ...                 batch_size=8)
    >>> [task.classes for task in stream.tasks]
    [(0, 1), (2, 3)]
    """
    source = array_file(file, shape=shape, cache=data_dir, test=test)
    return by_class(source, shape=shape, **split)


def hf(
    path: str,
    *,
    shape: Sequence[int],
    data_dir: str,
    download: bool = True,
    image: str | None = None,
    label: str | None = None,
    test: float = 0.2,
    source_options: dict[str, Any] | None = None,
    **split: Any,
) -> TaskStream:
    """A stream over a data set of Hugging Face's; the other options are those of `by_class`.

    Args:
        path: see `lifelong.data.sources.hugging_face`.
        shape: (c, h, w) to which images are brought.
        data_dir: folder for the prepared copy.
        download: fetch what is missing.
        image: column of the images; null for the one that there is.
        label: column of the classes; null for the one that there is.
        test: share of test images where there is no test part, in (0, 1).
        source_options: further arguments of `datasets.load_dataset`.
        **split: options of `by_class`.
    """
    source = hugging_face(
        path, shape=shape, data_dir=data_dir, download=download, image=image, label=label,
        test=test, options=source_options,
    )  # fmt: skip
    return by_class(source, shape=shape, **split)


def pairs(source: Source, *, tasks: int, pair_seed: int = 0, **split: Any) -> TaskStream:
    """A long stream of two classes each, for loss of plasticity; the others as `by_class`.

    As Continual ImageNet of Dohare et al. (Nature 632, 2024), which has pairs of ImageNet's.

    Args:
        source: of the images.
        tasks: so many different pairs are drawn.
        pair_seed: of that draw.
        **split: options of `by_class`.

    Raises:
        ValueError: more tasks than there are pairs.

    >>> from lifelong.data.sources import digits
    >>> stream = pairs(digits(), tasks=45, name="digits", batch_size=32)
    >>> len({frozenset(task.classes) for task in stream.tasks})
    45
    """
    every = list(combinations(range(len(source.classes)), 2))
    if not 1 <= tasks <= len(every):
        raise ValueError(
            f"data.tasks={tasks}: {source.name} has {len(every)} pairs of classes; give 1 to "
            f"{len(every)}"
        )
    order = np.random.default_rng(derive(pair_seed, "pairs")).permutation(len(every))[:tasks]
    return by_class(source, classes=[every[place] for place in order], **split)


def _check_shares(fraction: float, validation: float) -> None:
    if not 0 < fraction <= 1:
        raise ValueError(f"data.fraction={fraction}: give a share above 0, at most 1")
    if not 0 <= validation < 1:
        raise ValueError(f"data.validation={validation}: give a share from 0 to below 1")


def _groups(
    source: Source,
    classes: Sequence[Sequence[int | str]] | str | None,
    tasks: int | None,
    seed: int | None,
) -> list[list[int]]:
    available = len(source.classes)
    order = _order(source, classes) if isinstance(classes, str) else list(range(available))
    if classes is not None and not isinstance(classes, str):
        if not classes:
            raise ValueError("data.classes=[]: give the classes of at least one task, or null")
        return [_group(source, index, group) for index, group in enumerate(classes)]
    if tasks is None or not 1 <= tasks <= available:
        raise ValueError(
            f"data.tasks={tasks}: {source.name} has {available} classes; "
            f"give a number of tasks from 1 to {available}"
        )
    labels = np.array(order)
    if seed is not None:
        np.random.default_rng(seed).shuffle(labels)
    return [part.tolist() for part in np.array_split(labels, tasks)]


def _order(source: Source, path: str) -> list[int]:
    """The class numbers in a text file, in their order; `numpy.savetxt` may have written it.

    Raises:
        ValueError: no such file, or not each class of the source once.
    """
    try:
        found = [float(word) for word in Path(path).expanduser().read_text("utf-8").split()]
    except (OSError, ValueError) as error:
        raise ValueError(
            f"data.classes={path}: neither lists of classes nor a text file with a class number a "
            f"line ({error})"
        ) from None
    if sorted(found) != list(range(len(source.classes))):
        raise ValueError(
            f"data.classes={path}: has {len(found)} numbers; give each of the classes 0 to "
            f"{len(source.classes) - 1} of {source.name} once"
        )
    return [int(number) for number in found]


def _group(source: Source, index: int, labels: Sequence[int | str]) -> list[int]:
    """The class numbers of a task.

    Raises:
        ValueError: no class, or one twice, which the task would have under two labels.
    """
    if not labels:
        raise ValueError(
            f"data.classes: task {index + 1} has no class; give it one, or leave it out"
        )
    numbers = [_number(source, label) for label in labels]
    twice = [label for label, n in zip(labels, numbers, strict=True) if numbers.count(n) > 1]
    if twice:
        raise ValueError(
            f"data.classes: task {index + 1} has the class {twice[-1]} twice; give each class once"
        )
    return numbers


def _cut_groups(groups: list[list[int]], count: int | None) -> list[list[int]]:
    least = min(map(len, groups))
    if count is not None and not 1 <= count <= least:
        raise ValueError(
            f"data.classes_per_task={count}: the tasks have {least} classes; give 1 to that, or "
            "null for all"
        )
    return [group[:count] for group in groups]


def _untested(classes: Sequence[str]) -> str:
    """What is to be said of classes of which no test says anything.

    >>> _untested(["cat"]), _untested(["cat", "cow", "dog"])
    ('no test images of the class cat', 'no test images of the class cat and 2 more')
    """
    more = f" and {len(classes) - 1} more" if len(classes) > 1 else ""
    return f"no test images of the class {classes[0]}{more}" if classes else ""


def _numbers_told(source: Source, groups: Sequence[Sequence[int | str]]) -> str:
    """What is to be said where classes were chosen by number, and are called by other numbers."""
    for number in (label for group in groups for label in group if isinstance(label, int)):
        name = source.classes[number]
        if name.isdecimal() and int(name) != number:
            return (
                f"data.classes: numbers follow the order of the names, so that {number} is the "
                f"class called {name}; a name in quotes means itself, [['{name}']]"
            )
    return ""


def _number(source: Source, label: int | str) -> int:
    """The number of a class given by number or name."""
    if isinstance(label, str) and label in source.classes:
        return source.classes.index(label)
    if isinstance(label, str | bool) or label not in range(len(source.classes)):
        raise ValueError(
            f"data.classes: {label} is no class of {source.name} in {source.origin}, which has the "
            f"classes 0 to {len(source.classes) - 1}, {source.classes[0]} to {source.classes[-1]}"
        )
    return label


def _cut(
    source: Source, rows: NDArray[np.int64], shares: Sequence[float]
) -> list[NDArray[np.int64]]:
    """The images of a class for training, validation and testing."""
    if len(source.test_labels) or source.has_validation:
        part = "test" if len(source.test_labels) else "validation"
        raise ValueError(f"data.shares={list(shares)}: {source.name} has {part} images of its own")
    if len(shares) != 3 or min(shares) < 0 or sum(shares) > 1 + 1e-9:
        raise ValueError(
            f"data.shares={list(shares)}: give three shares, for training, validation and testing, "
            "that add up to at most 1"
        )
    # A share such as 0.3 is a little less than its decimal; 0.3 of 10 images are 3.
    ends = np.cumsum([0, *(int(share * len(rows) + 1e-9) for share in shares)])
    return [rows[begin:end] for begin, end in pairwise(ends)]


def _counts(
    available: int,
    fraction: float,
    images_per_class: int | None,
    per_class: Sequence[int] | None,
    validation: float,
) -> tuple[int, int]:
    """Training and validation images to take of a class with `available` training images."""
    if per_class is not None:
        return _given_counts(per_class)
    whole = available if images_per_class is None else images_per_class
    total = round(fraction * whole)
    if (whole, total) in _RELEASE_COUNTS and validation == 1 / 6:
        return _RELEASE_COUNTS[whole, total]
    if total == available:
        val = int(available * validation + 1e-9)
        return available - val, val
    train = round(total * (1 - validation))
    return train, total - train


def _own_counts(
    train: int, val: int, fraction: float, per_class: Sequence[int] | None
) -> tuple[int, int]:
    """As `_counts`, of a class that has validation images of its own."""
    if per_class is not None:
        return _given_counts(per_class)
    return max(round(fraction * train), 1), round(fraction * val)


def _given_counts(per_class: Sequence[int]) -> tuple[int, int]:
    if len(per_class) != 2 or min(per_class) < 0 or per_class[0] < 1:
        raise ValueError(
            f"data.per_class={list(per_class)}: give two numbers, training and validation images "
            "of a class"
        )
    return per_class[0], per_class[1]


def _check_pools(name: str, counts: tuple[int, int], train: int, val: int) -> None:
    if counts[0] < 1 or counts[0] > train or counts[1] > val:
        raise ValueError(
            f"data.fraction or data.per_class asks for {counts[0]} training and {counts[1]} "
            f"validation images of class {name!r}; there are {train} and {val}"
        )


def _gather(
    pixels: Callable[[NDArray[np.int64]], Tensor | StoredPixels],
    rows: dict[int, NDArray[np.int64]],
    group: list[int],
) -> tuple[Tensor | StoredPixels, Tensor]:
    """Images of the classes of a task, and their labels within the task."""
    picked = np.concatenate([rows[label] for label in group])
    labels = np.repeat(np.arange(len(group)), [len(rows[label]) for label in group])
    return pixels(picked), torch.from_numpy(labels)
