"""A stream of tasks, as Lightning's data module: the loaders serve the task that is current."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NotRequired, TypedDict

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from lifelong.data.feed import Feed, Served, ServedTogether, ShuffledBatchSampler, Together
from lifelong.data.seeds import derive
from lifelong.data.stored import Place, begun_ahead
from lifelong.data.task import NO_CHANCE, Batch, Images, Rows, Task
from lifelong.data.transforms import Library, Transform
from lifelong.data.visit import Visit
from lifelong.storage.identity import identity

MOST_VISITS = 100_000  # of a stream
MOST_AT_A_TIME, SMALL = 32, 1 << 22  # batches that are served in a list, and bytes of them


class StreamOptions(TypedDict):
    """Options of `TaskStream` that every maker of streams hands on."""

    name: NotRequired[str]
    batch_size: NotRequired[int]
    shuffle_seed: NotRequired[int | None]
    drop_last: NotRequired[bool | None]
    order: NotRequired[Sequence[int] | None]
    order_seed: NotRequired[int | None]
    limit: NotRequired[int | None]
    repeat: NotRequired[int]
    labels: NotRequired[Literal["own", "shared"]]
    blurry: NotRequired[float]
    online: NotRequired[bool]
    images_on: NotRequired[Place]
    train_transform: NotRequired[Transform | None]
    test_transform: NotRequired[Transform | None]


class TaskStream(LightningDataModule):
    """The tasks in the order in which they are met: `for visit in stream`.

    Args:
        tasks: every task once, numbered from 0.
        name: what the stream is called in results.
        batch_size: images of a training batch.
        shuffle_seed: of the order of training batches. Null: 0, and in `lifelong.learn` that of
            the run.
        drop_last: leave out an incomplete last training batch; null is false.
        order: task numbers, from 1, in the order of the visits; null visits each task once.
        order_seed: draws the order in which the tasks stand, which are then numbered anew; their
            names tell which they are. Null: as they are given.
        limit: stop after this many visits; null for all.
        repeat: go through the visits so many times.
        labels: `own`: each task has the classes that its maker gave it; `shared`: label i is the
            same class in every task (domain-incremental).
        blurry: share of the training images of each visit that comes with the visits to other
            tasks, evenly, in [0, 1): boundaries between tasks are then blurred.
        online: each image is trained on once: one epoch of one round.
        images_on: where the images are between the steps: on the `device`, in memory of the `host`,
            or in the prepared copy on the `disk`, from where they come ahead of the steps. `auto`:
            the first that they fit on. None of the numbers depends on it.
        train_transform: of the images that are trained on, see `lifelong.data.transforms`.
        test_transform: of all other images, and of those that importances are estimated on.
        origin: where the images came from, for the record.
        note: what a person should know of how they were read.

    Raises:
        ValueError: tasks that are not numbered in their order, or whose images do not fit them; a
            batch larger than a task, an order or limit that does not fit the tasks, shared labels
            of tasks with unequally many classes.

    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> len(stream), stream.tasks[2].classes, stream.visits[4].is_last
    (5, (4, 5), True)
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        name: str = "stream",
        batch_size: int = 32,
        shuffle_seed: int | None = None,
        drop_last: bool | None = None,
        order: Sequence[int] | None = None,
        order_seed: int | None = None,
        limit: int | None = None,
        repeat: int = 1,
        labels: Literal["own", "shared"] = "own",
        blurry: float = 0.0,
        online: bool = False,
        images_on: Place = "auto",
        train_transform: Transform | None = None,
        test_transform: Transform | None = None,
        origin: str = "",
        note: str = "",
    ) -> None:
        super().__init__()
        self.name, self.origin, self.note = name, origin, note
        self.seeded, shuffle_seed = shuffle_seed is not None, shuffle_seed or 0
        self.batch_size, self.seed, self.drop_last = batch_size, shuffle_seed, bool(drop_last)
        self.blurry, self.online, self.images_on = blurry, online, images_on
        _check_tasks(tasks)
        _check_units(tasks, train_transform, test_transform)
        tasks = [_own(task) for task in tasks]  # which other streams may be made of, too
        if labels == "shared":
            tasks = _with_shared_labels(tasks)
        if order_seed is not None:
            tasks = _shuffled(tasks, order_seed)
        visits = _order(name, len(tasks), order, limit, repeat)
        self.visits = [
            Visit(number, tasks[index], is_last=number == len(visits))
            for number, index in enumerate(visits, 1)
        ]
        self.tasks = list(tasks[: len(set(visits))])
        for images in self.images():
            images.transform, images.augment = test_transform, train_transform
        self.visits = _blurred(self.visits, blurry, shuffle_seed)
        for visit in self.visits:
            if batch_size > len(visit.train):
                raise ValueError(
                    f"batch_size={batch_size}: {visit.task.name} of {name} has only "
                    f"{len(visit.train)} training images; give at most that"
                )
        self._train: Images = self.visits[0].train
        self._val: Images = self.tasks[0].val
        self._epoch_seed, self._first_epoch, self._batch = shuffle_seed, 0, batch_size
        self._feeds: dict[str, Feed] = {}
        self.several = False

    def __iter__(self) -> Iterator[Visit]:
        return iter(self.visits)

    def __len__(self) -> int:
        return len(self.visits)

    def checksum(self) -> int:
        """Of all images and labels of all tasks, on the CPU: tells whether two streams are one."""
        value = 0
        for task in self.tasks:
            for part in (task.train, task.val, task.test):
                value = part.checksum(value)
        return value

    def identity(self) -> int:
        """Of all that decides what a method is given: images, transforms, order, batches.

        Its name and where its images are do not count.
        """
        splits = [part for task in self.tasks for part in (task.train, task.val, task.test)]
        return identity(
            [(task.index, task.name, task.classes, task.class_names) for task in self.tasks],
            [(p.scale, p.shift, p.dtype, p.transform, p.augment, p.features) for p in splits],
            [visit.task.index for visit in self.visits],
            [self.batch_size, self.seed, self.drop_last, self.blurry, self.online],
            start=self.checksum(),
        )

    def measure_on_validation(self) -> None:
        """Measures on the validation images, to choose options by; test images are let go.

        Raises:
            ValueError: a task without validation images.
        """
        bare = [task.name for task in self.tasks if not len(task.val)]
        if bare:
            raise ValueError(
                f"measure_on=validation: {bare[0]} has no validation images; give a larger "
                "data.validation, such as 0.1"
            )
        self.tasks = [replace(task, test=task.val) for task in self.tasks]
        self.visits = [
            replace(
                visit,
                task=self.tasks[visit.task.index],
                others=tuple(self.tasks[other.index] for other in visit.others),
            )
            for visit in self.visits
        ]

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        """Makes batches on `device`, normalised and in `dtype`; images lie there if they fit."""
        held = {id(x): x for images in self.images() if torch.is_tensor(x := images.x)}
        size = sum(x.nbytes for x in held.values())
        apart = self.images_on in ("host", "disk")
        if self.images_on == "auto" and device.type == "cuda":
            apart = size > 0.7 * torch.cuda.mem_get_info(device)[0]
        moved: dict[int, tuple[Any, Any]] = {}  # pixels that several tasks have in common, once
        for images in self.images():
            before = images.x
            if id(before) in moved:
                images.x = moved[id(before)][1]
            moved[id(before)] = before, images.to(device, apart).x
            images.dtype = dtype

    def images(self) -> Iterator[Images]:
        """Those of all splits of all tasks, and what visits mix of them."""
        for task in self.tasks:
            yield from (task.train, task.val, task.test)
        yield from (visit.mixed for visit in self.visits if visit.mixed is not None)

    def serve(
        self,
        visit: Visit,
        train: Images | None = None,
        number: int = 0,
        first_epoch: int = 0,
        val: Images | None = None,
        batch_size: int | None = None,
        feeds: Mapping[str, Feed] | None = None,
    ) -> None:
        """Makes round `number` of a visit current.

        `train` and `val` replace its images, `batch_size` that of training batches; `feeds`
        come beside.
        """
        self._train = visit.train if train is None else train
        self._val = visit.task.val if val is None else val
        self._batch = self.batch_size if batch_size is None else batch_size
        self._epoch_seed = derive(self.seed, "batches", visit.number - 1, number)
        self._first_epoch, self._feeds = first_epoch, dict(feeds or {})
        self.several = False

    def train_dataloader(self) -> DataLoader[Any]:
        """Training batches; with feeds, `Fed`; lists of them if `several` are served at a time."""
        main = ShuffledBatchSampler(
            self._train, self._batch, self.drop_last, self._epoch_seed, self._first_epoch
        )
        train = Served(self._train, True, main.noise)
        samplers, served = dict[str, ShuffledBatchSampler](), dict[str, Served]()
        for name, feed in self._feeds.items():
            images = feed.images() if callable(feed.images) else feed.images
            if len(images):
                seed = derive(self._epoch_seed, "feed", name)
                batch = feed.batch_size or self._batch
                samplers[name] = ShuffledBatchSampler(images, batch, False, seed, self._first_epoch)
                served[name] = Served(images, feed.augment, samplers[name].noise)
        number = self._at_a_time() if self.several else 1
        if not served:
            return _loader(train, main, number)
        return _loader(ServedTogether(train, served), Together(main, samplers), number)

    def _at_a_time(self) -> int:
        """Batches of a list: as many as are small together; one where pixels lie apart."""
        if self._train.apart:
            return 1
        size = 4 * self._batch * math.prod(map(int, self._train.x.shape[1:]))
        return max(1, min(MOST_AT_A_TIME, SMALL // size))

    def val_dataloader(self) -> DataLoader[Batch]:
        return self.loader(self._val)

    def loader(self, *parts: Images) -> DataLoader[Batch]:
        """One plain pass over images in large batches, for evaluation and importances.

        A batch holds images of one part alone: so evaluation gives the same numbers, whatever else
        is asked in the same pass.
        """
        return _loader(InTurn(parts), WholePass(parts))


def _order(
    name: str, tasks: int, order: Sequence[int] | None, limit: int | None, repeat: int
) -> list[int]:
    """The index of the task of each visit."""
    numbers = list(range(1, tasks + 1) if order is None else order)
    if not numbers or any(number not in range(1, tasks + 1) for number in numbers):
        raise ValueError(f"data.order={numbers}: names tasks by their numbers, 1 to {tasks}")
    visits = [number - 1 for number in numbers]
    if limit is not None and not 1 <= limit <= len(visits):
        raise ValueError(
            f"tasks={limit}: the stream {name} has {len(visits)} tasks; "
            f"give a number from 1 to {len(visits)}, or null for all"
        )
    if not 1 <= repeat <= MOST_VISITS // max(len(visits[:limit]), 1):
        raise ValueError(
            f"data.repeat={repeat}: give a whole number, 1 or more; a stream has at most "
            f"{MOST_VISITS:,} visits"
        )
    visits = visits[:limit] * repeat
    if sorted(set(visits)) != list(range(len(set(visits)))):
        raise ValueError(f"data.order={numbers}: leaves out a task below its highest number")
    return visits


def _check_tasks(tasks: Sequence[Task]) -> None:
    """Refuses tasks, made by whomever, of which no run could be right."""
    for place, task in enumerate(tasks):
        if task.index != place:
            raise ValueError(f"{task.name}: has index {task.index}; number tasks from 0, in order")
        for part in ("train", "val", "test"):
            _check_images(getattr(task, part), task, f"{task.name}: {part}", tasks[0].train)


def _check_images(images: Images, task: Task, name: str, first: Images) -> None:
    if not len(images) and not name.endswith("val"):
        raise ValueError(f"{name} has no images; give some")
    _check_kinds(images, name, first)
    if not len(images):
        return
    if images.x.dtype.is_floating_point and not bool(images.x.isfinite().all()):
        raise ValueError(f"{name} has pixels that are no numbers, or infinite; give others")
    least, most = int(images.y.min()), int(images.y.max())
    if least < 0 or most >= len(task.classes):
        raise ValueError(
            f"{name} has labels from {least} to {most}; the task has {len(task.classes)} classes, "
            f"so give 0 to {len(task.classes) - 1}"
        )
    others = images.t[images.t != task.index]
    if len(others):
        raise ValueError(f"{name} has t={int(others[0])}; give the index of the task, {task.index}")


def _check_kinds(images: Images, name: str, first: Images) -> None:
    if tuple(images.x.shape[1:]) != tuple(first.x.shape[1:]):
        shapes = [tuple(each.x.shape[1:]) for each in (images, first)]
        raise ValueError(f"{name} has images {shapes[0]}; the first task's are {shapes[1]}")
    if images.y.dtype != torch.long:
        raise ValueError(f"{name} has labels of {images.y.dtype}; give torch.long")
    if images.x.dtype != first.x.dtype:
        raise ValueError(f"{name} has {images.x.dtype}; the first task's are {first.x.dtype}")


def _check_units(tasks: Sequence[Task], *transforms: Transform | None) -> None:
    """Refuses transforms of libraries that would take other pixels than there are."""
    kind = tasks[0].train.x.dtype if tasks else torch.uint8
    for transform in transforms:
        if isinstance(transform, Library) and kind != torch.uint8 and transform.unit == 255:
            raise ValueError(
                f"data: Library(..) takes bytes, 0 to 255, and the images are {kind}; give uint8, "
                "or the value of white, such as Library(.., unit=1)"
            )


def _own(task: Task) -> Task:
    """A task whose images are served in a way of its own; their pixels are the same."""
    train, val, test = (copy.copy(images) for images in (task.train, task.val, task.test))
    return replace(task, train=train, val=val, test=test)


def _shuffled(tasks: Sequence[Task], seed: int) -> list[Task]:
    """The tasks in an order that is drawn, numbered by their new places."""
    generator = torch.Generator().manual_seed(derive(seed, "order of tasks"))
    made = []
    for index, place in enumerate(torch.randperm(len(tasks), generator=generator).tolist()):
        name = tasks[place].name
        if re.fullmatch(r"task \d+", name):  # which would be another number than its own
            name = f"task {index + 1} (given as {place + 1})"
        task = replace(tasks[place], index=index, name=name)
        for images in (task.train, task.val, task.test):
            images.t = torch.full_like(images.t, index)
        made.append(task)
    return made


def _with_shared_labels(tasks: Sequence[Task]) -> list[Task]:
    """The tasks with label i as class i in all of them."""
    counts = [len(task.classes) for task in tasks]
    other = next((place for place, count in enumerate(counts) if count != counts[0]), None)
    if other is not None:
        raise ValueError(
            f"data.labels=shared: {tasks[0].name} has {counts[0]} classes and {tasks[other].name} "
            f"{counts[other]}; give tasks of equally many, or data.labels=own"
        )
    _check_names([task.class_names or tuple(map(str, task.classes)) for task in tasks], tasks)
    same = len({task.class_names for task in tasks}) == 1
    names = tasks[0].class_names if same else tuple(f"label {i}" for i in range(counts[0]))
    return [replace(task, classes=tuple(range(counts[0])), class_names=names) for task in tasks]


def _check_names(names: Sequence[tuple[str, ...]], tasks: Sequence[Task]) -> None:
    """Refuses tasks that have a class in common under another label, or others beside it."""
    owners: dict[str, int] = {}  # the first task that has a class
    for place, (own, task) in enumerate(zip(names, tasks, strict=True)):
        first = min(owners.setdefault(name, place) for name in own)
        if own != names[first]:
            raise ValueError(
                f"data.labels=shared: {tasks[first].name} has the classes "
                f"{', '.join(names[first])}, and "
                f"{task.name} {', '.join(own)}: label i would not be the same class in both; give "
                "tasks of the same classes, or of none in common, or data.labels=own"
            )


def _blurred(visits: Sequence[Visit], share: float, seed: int) -> list[Visit]:
    """Visits whose images come in part with the visits to other tasks; each image once.

    Raises:
        ValueError: a share out of range.
    """
    if not 0 <= share < 1:
        raise ValueError(f"data.blurry={share}: give a share from 0 to below 1")
    if not share:
        return list(visits)
    if len({visit.task.index for visit in visits}) == 1:
        raise ValueError(f"data.blurry={share}: there is one task alone; give 0, or more tasks")
    dealt: list[list[tuple[Task, Tensor]]] = [[] for _ in visits]  # what comes to each visit
    kept = []
    for visit in visits:
        generator = torch.Generator().manual_seed(derive(seed, "blurry", visit.number))
        rows = torch.randperm(len(visit.task.train), generator=generator)
        moved = round(share * len(rows))
        kept.append(rows[moved:].sort().values)
        others = [n for n, other in enumerate(visits) if other.task.index != visit.task.index]
        for number, part in zip(others, rows[:moved].tensor_split(len(others)), strict=True):
            if len(part):
                dealt[number].append((visit.task, part.sort().values))
    mixed = []
    for visit, rows, guests in zip(visits, kept, dealt, strict=True):
        parts = [task.train.part(some) for task, some in ((visit.task, rows), *guests)]
        others_of = {task.index: task for task, _ in guests}
        images = Images.joined(parts)
        mixed.append(replace(visit, mixed=images, others=tuple(others_of.values())))
    return mixed


class InTurn(Dataset[Batch]):
    """Several sets of images, indexed by the number of one and by indices in it."""

    def __init__(self, parts: Sequence[Images]) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, drawn: tuple[int, Rows]) -> Batch:
        number, rows = drawn
        images = self.parts[number]
        return images.get_batch(rows, images.transform, NO_CHANCE)


class WholePass(Sampler[tuple[int, Rows]]):
    """Each image of several sets once, in order, in large batches of one set alone."""

    def __init__(self, parts: Sequence[Images]) -> None:
        self.parts = parts
        self.portions = [images.portions() for images in parts]

    def __len__(self) -> int:
        return sum(map(len, self.portions))

    def __iter__(self) -> Iterator[tuple[int, Rows]]:
        return begun_ahead(self._drawn(), lambda one: (one[0], self.parts[one[0]].begun(one[1])))

    def _drawn(self) -> Iterator[tuple[int, Rows]]:
        for number, (images, portions) in enumerate(zip(self.parts, self.portions, strict=True)):
            for rows in portions:
                yield number, images.rows(rows)


def _loader(images: Dataset[Any], batches: Iterable[Any], number: int = 1) -> DataLoader[Any]:
    """Cuts batches by index; gives lists of so many, if it is more than one.

    Its generator keeps the loader from drawing on the global one.
    """
    size = None if number == 1 else number
    return DataLoader(
        images, batch_size=size, sampler=batches, collate_fn=_as_it_is, generator=torch.Generator()
    )


def _as_it_is(batch: Any) -> Any:
    return batch
