"""Streams whose tasks are whole data sets: several in turn, or one rotated or permuted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, Unpack, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lifelong.data.normalisation import Standardize, standardized
from lifelong.data.seeds import derive
from lifelong.data.sources.domains import domain_folders
from lifelong.data.sources.folder import image_folder
from lifelong.data.sources.hugging_face import hugging_face_domains
from lifelong.data.sources.named import named
from lifelong.data.sources.pixels import brought
from lifelong.data.sources.places import located
from lifelong.data.sources.source import Part, Source
from lifelong.data.stream import StreamOptions, TaskStream
from lifelong.data.task import Task

# Degrees between two tasks by their number, as TAG's program has them; more tasks: 10.
_ANGLES = {1: 360, 2: 180, 3: 120, 4: 90, 5: 60, 6: 60, 7: 45, 8: 45, 9: 30, 10: 30}

Alter = Callable[[Tensor], Tensor]  # (n, c, h, w) uint8


class SequenceOptions(StreamOptions):
    """Options of every stream of whole data sets.

    Attributes:
        shape: (c, h, w) to which images are brought: bilinear, and grey ones to three channels.
        fraction: of the training images of a data set to use, validation images among them.
        validation: share of those kept for validation, in [0, 1).
        standardize: see `by_class`.
        seed: of the draw of images.
    """

    shape: Sequence[int]
    fraction: float
    validation: float
    standardize: Standardize
    seed: int


def sequence(sources: Sequence[Source], **options: Unpack[SequenceOptions]) -> TaskStream:
    """One data set after the other, each with its own classes.

    Args:
        sources: the data sets.
        **options: see `SequenceOptions`.

    Raises:
        ValueError: options out of range, images that cannot be brought to the shape.

    >>> from lifelong.data.sources import digits
    >>> stream = sequence([digits(), digits()], shape=(1, 8, 8), fraction=1.0,
    ...                   validation=0.1, standardize="none", seed=0, name="mine", batch_size=32)
    >>> [len(task.classes) for task in stream.tasks]
    [10, 10]
    """
    if not sources:
        raise ValueError("no data set was given; give at least one")
    return _stream([(source, source.name, _same) for source in sources], options)


def sets(
    names: Sequence[str],
    *,
    data_dir: str,
    download: bool = True,
    **options: Unpack[SequenceOptions],
) -> TaskStream:
    """One data set after the other, by their names.

    Args:
        names: each one of `lifelong.data.sources.NAMED`, and once.
        data_dir: folder of the data sets.
        download: fetch what is missing, where it can be fetched.
        **options: see `SequenceOptions`.

    Raises:
        ValueError: no such name, one given twice, images that are not there.

    >>> stream = sets(["digits"], data_dir="data", shape=(1, 8, 8), fraction=1.0, validation=0.1,
    ...               standardize="none", seed=0, name="mine", batch_size=32)
    >>> [task.name for task in stream.tasks]
    ['digits']
    """
    if len(set(names)) < len(names):
        again = "give each data set once; data.repeat=2 passes through them again"
        raise ValueError(f"data.names={list(names)}: {again}")
    return sequence([named(name, data_dir, download=download) for name in names], **options)


def hf_domains(
    path: str,
    *,
    domain: str,
    data_dir: str,
    download: bool = True,
    image: str | None = None,
    label: str | None = None,
    test: float = 0.2,
    source_options: dict[str, Any] | None = None,
    **options: Unpack[SequenceOptions],
) -> TaskStream:
    """A task for each value of a column of a data set of Hugging Face's library `datasets`.

    With `labels=shared` label i is the same class in all of them (domain-incremental).

    Args:
        path: see `lifelong.data.sources.hugging_face`.
        domain: the column.
        data_dir: folder for the prepared copies.
        download: fetch what is missing.
        image: column of the images; null for the one that there is.
        label: column of the classes; null for the one that there is.
        test: share of test images where there is no test part, in (0, 1).
        source_options: further arguments of `datasets.load_dataset`.
        **options: see `SequenceOptions`.
    """
    found = hugging_face_domains(
        path, domain=domain, shape=options["shape"], data_dir=data_dir, download=download,
        image=image, label=label, test=test, options=source_options,
        same_classes=options.get("labels") == "shared",
    )  # fmt: skip
    return sequence(found, **options)


def folders(
    roots: Sequence[str],
    *,
    data_dir: str,
    test: float | str = 0.2,
    crop: bool = True,
    **options: Unpack[SequenceOptions],
) -> TaskStream:
    """A user's own image folders as tasks, one after the other.

    Args:
        roots: folders or zip files with `train/<class>/*` and `test/<class>/*`, or `<class>/*`;
            each is looked for as it stands, then below `data_dir`.
        data_dir: folder of the data sets, and for the prepared copies.
        test: share of test images where a folder has no test part, in (0, 1); or a text file that
            names them, see `image_folder`.
        crop: keep the aspect ratio, see `image_folder`.
        **options: see `SequenceOptions`.

    >>> from PIL import Image
    >>> root = getfixture("tmp_path") / "pets"
    >>> for name in ("cat", "dog"):
    ...     for number in range(10):
    ...         path = root / name / f"{number}.png"
    ...         path.parent.mkdir(parents=True, exist_ok=True)
    ...         Image.new("L", (8, 8), 20 * number).save(path)
    >>> data_dir = str(getfixture("tmp_path") / "data")
    >>> stream = folders([str(root)], data_dir=data_dir, shape=(1, 8, 8), fraction=1.0,
    ...                  validation=0.2, standardize="none", seed=0, name="pets", batch_size=4)
    pets: ...
    >>> stream.tasks[0].name
    'pets'
    """
    found = [
        image_folder(
            place, shape=options["shape"], cache=data_dir, test=test, crop=crop, option="data.roots"
        )
        for place in located(roots, data_dir)
    ]
    return sequence(found, **options)


def domains(
    roots: Sequence[str],
    *,
    data_dir: str,
    domains: Sequence[str] | None = None,
    test: float | str = 0.2,
    test_domains: Sequence[str] = (),
    crop: bool = True,
    **options: Unpack[SequenceOptions],
) -> TaskStream:
    """A task for each domain of image folders `<domain>/<class>/*`.

    With `labels=shared` label i is the same class in all of them (domain-incremental); with
    `labels=own` each has classes of its own, whatever their names.

    Args:
        roots: folders of domains; each is looked for as it stands, then below `data_dir`.
        data_dir: folder of the data sets, and for the prepared copies.
        domains: names of their folders, in the order of the tasks; null for all, by name.
        test: share of test images of a domain without a test part, in (0, 1); or a text file that
            names them, in which `{domain}` stands for its name, see `image_folder`.
        test_domains: domains on whose images every task is tested; the others then have no test
            images of their own.
        crop: keep the aspect ratio, see `image_folder`.
        **options: see `SequenceOptions`.

    >>> from PIL import Image
    >>> root = getfixture("tmp_path") / "pets"
    >>> for place in ("photo/cat", "photo/dog", "sketch/cat", "sketch/dog"):
    ...     for number in range(10):
    ...         path = root / place / f"{number}.png"
    ...         path.parent.mkdir(parents=True, exist_ok=True)
    ...         Image.new("L", (8, 8), 20 * number).save(path)
    >>> data_dir = str(getfixture("tmp_path") / "data")
    >>> stream = domains([str(root)], data_dir=data_dir, shape=(1, 8, 8), fraction=1.0,
    ...                  validation=0.2, standardize="none", seed=0, name="pets", batch_size=4,
    ...                  labels="shared")
    photo: ...
    >>> [(task.name, task.classes) for task in stream.tasks]
    [('photo', (0, 1)), ('sketch', (0, 1))]
    """
    found = domain_folders(
        roots, shape=options["shape"], data_dir=data_dir, domains=domains, test=test,
        test_domains=test_domains, crop=crop, same_classes=options.get("labels") == "shared",
    )  # fmt: skip
    return sequence(found, **options)


def rotated(
    source: Source,
    *,
    tasks: int,
    angles: Sequence[float] | None = None,
    fidelity: Literal["clean", "authors"] = "clean",
    design_seed: int = 0,
    **options: Unpack[SequenceOptions],
) -> TaskStream:
    """The same images in every task, turned counter-clockwise; each task has classes of its own.

    Args:
        source: the images.
        tasks: number of tasks.
        angles: degrees for each task; null: 0, d, 2d, ..., d being 30 for 10 tasks. With
            `fidelity=authors` a random share of d is taken off each, as in TAG's program.
        fidelity: see above.
        design_seed: of those shares.
        **options: see `SequenceOptions`.

    >>> from lifelong.data.sources import digits
    >>> stream = rotated(digits(), tasks=2, angles=[0, 90], shape=(1, 8, 8), fraction=1.0,
    ...                  validation=0.1, standardize="none", seed=0, name="mine", batch_size=32)
    >>> len(stream)
    2
    """
    _check_tasks(tasks)
    if angles is not None and len(angles) != tasks:
        raise ValueError(f"data.angles={list(angles)}: give {tasks} angles, one for each task")
    if angles is None:
        step = _ANGLES.get(tasks, 10)
        off = np.random.default_rng(derive(design_seed, "angles")).random(tasks)
        less = off if fidelity == "authors" else np.zeros(tasks)
        angles = [float(step * (index - less[index])) for index in range(tasks)]
    return _stream([(source, f"{angle:.0f} degrees", _turned(angle)) for angle in angles], options)


def permuted(
    source: Source, *, tasks: int, design_seed: int = 0, **options: Unpack[SequenceOptions]
) -> TaskStream:
    """The same images in every task, their pixels in another order; the first task as they are.

    Args:
        source: the images.
        tasks: number of tasks.
        design_seed: of the orders.
        **options: see `SequenceOptions`.

    >>> from lifelong.data.sources import digits
    >>> stream = permuted(digits(), tasks=3, shape=(1, 8, 8), fraction=1.0,
    ...                   validation=0.1, standardize="none", seed=0, name="mine", batch_size=32)
    >>> len(stream.tasks[2].classes)
    10
    """
    _check_tasks(tasks)
    pixels = int(np.prod(options["shape"][-2:]))
    orders = [
        np.random.default_rng(derive(design_seed, "pixels", index)).permutation(pixels)
        for index in range(1, tasks)
    ]
    alterations = [_same, *(_reordered(torch.from_numpy(order)) for order in orders)]
    parts = [(source, f"order {number}", alter) for number, alter in enumerate(alterations, 1)]
    return _stream(parts, options)


def _check_tasks(tasks: int) -> None:
    if tasks < 1:
        raise ValueError(f"data.tasks={tasks}: give a whole number, 1 or more")


def _same(x: Tensor) -> Tensor:
    return x


def _turned(angle: float) -> Alter:
    def alter(x: Tensor) -> Tensor:
        from torchvision.transforms.v2.functional import rotate

        return torch.cat([rotate(part, angle) for part in x.split(10_000)]) if angle else x

    return alter


def _reordered(order: Tensor) -> Alter:
    return lambda x: x.flatten(2)[:, :, order].view_as(x)


def _stream(parts: Sequence[tuple[Source, str, Alter]], options: SequenceOptions) -> TaskStream:
    if len(options["shape"]) != 3:
        raise ValueError(f"data.shape={list(options['shape'])}: give [channels, height, width]")
    fraction, validation = options["fraction"], options["validation"]
    for option, value, right in (
        ("fraction", fraction, 0 < fraction <= 1),
        ("validation", validation, 0 <= validation < 1),
    ):
        if not right:
            raise ValueError(f"data.{option}={value}: give a share from 0 to 1")
    tasks: list[Task] = []
    tested: dict[int, Any] = {}
    first = 0
    for index, (source, name, alter) in enumerate(parts):
        classes = tuple(range(first, first + len(source.classes)))
        task = _task(source, index, name, classes, alter, options)
        if alter is _same:  # where all are tested on the same images, these are held once
            task.test.x = tested.setdefault(id(source.test_images), task.test.x)
        tasks.append(task)
        first += len(classes)
    own = SequenceOptions.__annotations__.keys() - StreamOptions.__annotations__.keys()
    left = cast(StreamOptions, {k: value for k, value in options.items() if k not in own})
    origins = dict.fromkeys(source.origin for source, _, _ in parts)
    notes = dict.fromkeys(f"{source.name}: {source.note}" for source, _, _ in parts if source.note)
    return TaskStream(tasks, origin=", ".join(origins), note="; ".join(notes), **left)


def _task(
    source: Source,
    index: int,
    name: str,
    classes: tuple[int, ...],
    alter: Alter,
    options: SequenceOptions,
) -> Task:
    rows = np.arange(len(source.train_labels))
    np.random.default_rng(derive(options["seed"], "images", index)).shuffle(rows)
    rows = rows[: max(round(options["fraction"] * len(rows)), 1)]
    cut = 0 if source.has_validation else round(options["validation"] * len(rows))
    held_out: tuple[Part, NDArray[np.int64], NDArray[np.int64]]
    held_out = ("train", source.train_labels, np.sort(rows[:cut]))
    if source.has_validation:
        count = round(options["fraction"] * len(source.val_labels))
        draw = np.random.default_rng(derive(options["seed"], "validation", index))
        chosen = np.sort(draw.permutation(len(source.val_labels))[:count])
        held_out = ("val", source.val_labels, chosen)
    parts: list[tuple[Part, NDArray[np.int64], NDArray[np.int64]]] = [
        ("train", source.train_labels, np.sort(rows[cut:])),
        held_out,
        ("test", source.test_labels, np.arange(len(source.test_labels))),
    ]
    stay = _stays(source, alter, options)
    pixels = [
        source.pixels(part, where, stay)
        if stay
        else alter(brought(getattr(source, f"{part}_images")[where], options["shape"], source.name))
        for part, _, where in parts
    ]
    sets = [
        standardized(
            x,
            torch.from_numpy(labels[where]),
            index,
            x if options["standardize"] == "split" else pixels[0],
            options["standardize"],
        )
        for x, (_, labels, where) in zip(pixels, parts, strict=True)
    ]
    return Task(index, name, classes, sets[0], sets[1], sets[2], source.classes)


def _stays(source: Source, alter: Alter, options: SequenceOptions) -> bool:
    """Whether the images of a data set are read from its file batch by batch.

    Raises:
        ValueError: they are to, and are altered or brought to another shape.
    """
    where = options.get("images_on", "auto")
    as_they_are = alter is _same and source.shape == tuple(options["shape"])
    if where == "disk" and not as_they_are:
        raise ValueError(
            f"data.images_on=disk: the images of {source.name} are altered before the training; "
            "give auto"
        )
    return as_they_are and source.stays_on_disk(where)
