"""Memories of training images: a reservoir, rings, a balanced set, and sets that a method chooses.

A memory keeps places: which image of which task. The images themselves are those of the stream, so
they can be shown as they are or augmented anew, as published replay methods do. What a method wants
to keep beside an image, such as the network's answer to it, is kept beside its place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.data import Batch, Images, Task, Visit

EMPTY = -1  # the task of a slot without an image


def check_augment(augment: bool, tasks: Sequence[Task]) -> None:
    """Refuses `strategy.augment_memory` where it does nothing.

    Raises:
        ValueError: images are not to be augmented anew, and the stream's are not augmented.
    """
    if not augment and all(task.train.augment is None for task in tasks):
        raise ValueError(
            "strategy.augment_memory=false: has no effect beside augment=none; give another augment"
        )


def _check_size(option: str, images: int) -> None:
    if images < 1:
        raise ValueError(f"strategy.{option}={images}: give a number of images, 1 or more")


class Memory(nn.Module):
    """Slots for images of the seen tasks; a kind of memory decides in `places` what goes where.

    Attributes:
        seen: images offered so far.
        tasks: of each slot, (slots,), -1 where it is empty.
        rows: place of the slot's image among its task's training images, (slots,).
        extras: tensors by name, (slots, ..), what was added beside the images.
        waiting: takes what is to be added later; None: it is added at once.

    >>> import torch
    >>> class First(Memory):
    ...     def places(self, batch):
    ...         self.grow(len(batch.y) if not len(self.tasks) else 0)
    ...         full = len(self) > 0
    ...         return [None if full else slot for slot in range(len(batch.y))]
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> visit = stream.visits[0]
    >>> memory = First()
    >>> memory.begin_task(visit)
    >>> memory.add(visit.train[torch.arange(8)], seen_at=torch.arange(8))
    >>> batch, extras = memory.sample(3)
    >>> batch.x.shape, extras["seen_at"].shape
    (torch.Size([3, 1, 8, 8]), torch.Size([3]))
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0
        self.tasks, self.rows = torch.zeros(0).long(), torch.zeros(0).long()
        self.extras: dict[str, Tensor] = {}
        self._images: dict[int, Images] = {}  # training images of the seen tasks
        self._labels: dict[int, Tensor] = {}  # theirs, on the CPU: nobody waits for a device
        self._alike = True  # whether all tasks have the same mean and deviation
        self._kept: Images | None = None  # the images in the slots
        self.waiting: list[Callable[[], object]] | None = None
        self._held: set[tuple[int, int]] | None = None  # task and row of what is in the slots

    def begin_task(self, visit: Visit) -> None:
        """Called before the images of a visit are offered; also when a stopped run goes on."""
        for task in visit.tasks:
            self.meet(task)

    def meet(self, task: Task) -> None:
        """Makes the images of a task known."""
        self._images[task.index] = task.train
        first = next(iter(self._images.values()))
        if self._alike and not first.is_normalised_as(task.train):
            self._alike, self._kept = False, None
        self._labels[task.index] = task.train.y.cpu()

    def labels(self, batch: Batch) -> list[tuple[int, int]]:
        """Task and label of each image of a training batch, without waiting for a device."""
        pairs = zip(batch.t.tolist(), batch.row.tolist(), strict=True)
        return [(task, int(self._labels[task][row])) for task, row in pairs]

    def places(self, batch: Batch) -> Sequence[int | None]:
        """The slot of each image of a batch, None for those that are not kept."""
        raise NotImplementedError

    def new(self, batch: Batch) -> list[bool]:
        """Of each image of a batch, whether it is in no slot, and no earlier place of the batch."""
        if self._held is None:
            self._held = self._pairs((self.tasks != EMPTY).nonzero()[:, 0])
        met = set[tuple[int, int]]()
        found = []
        for pair in zip(batch.t.tolist(), batch.row.tolist(), strict=True):
            found.append(pair not in self._held and pair not in met)
            met.add(pair)
        return found

    def _pairs(self, slots: Tensor) -> set[tuple[int, int]]:
        """Task and row of some slots."""
        return set(zip(self.tasks[slots].tolist(), self.rows[slots].tolist(), strict=True))

    def add(self, batch: Batch, **extras: Tensor) -> None:
        """Offers the images of a training batch; some replace others.

        Args:
            batch: of which only `y`, `t` and `row` matter.
            **extras: (b, ..), what is to be kept beside the images; always of the same names.
        """
        extras = {name: values.detach() for name, values in extras.items()}
        if self.waiting is None:
            self._take(batch, extras)
        else:
            self.waiting.append(partial(self._take, batch, extras))

    def _take(self, batch: Batch, extras: Mapping[str, Tensor]) -> None:
        slots = dict[int, int]()
        for number, slot in enumerate(self.places(batch)):
            if slot is not None:
                slots[slot] = number  # of two for one slot the later stays
        self.seen += len(batch.y)
        if slots:
            places, chosen = torch.tensor([list(slots), list(slots.values())])
            self._put(places, batch.t[chosen], batch.row[chosen])
            for name, values in extras.items():
                self._keep_beside(name, places, chosen, values)

    def __len__(self) -> int:
        """Images kept now."""
        return int((self.tasks != EMPTY).sum())

    @property
    def nbytes(self) -> int:
        """Bytes of the images kept, as they are stored, and of what is kept beside them."""
        tasks = [task for task in self.tasks.tolist() if task != EMPTY]
        kept = sum(int(self._images[task].x[0].nbytes) for task in tasks)
        return kept + sum(values.nbytes for values in self.extras.values())

    def sample(
        self,
        number: int | None = None,
        *,
        of: int | None = None,
        without: int | None = None,
        augment: bool = True,
    ) -> tuple[Batch, dict[str, Tensor]]:
        """Images of random slots, each once, and what is beside them; fewer where there are fewer.

        Args:
            number: of images; None for all, in the order of the slots.
            of: a task; None for all.
            without: a task that is left out.
            augment: draw the stream's training augmentation anew; else as in tests.
        """
        slots = (self.tasks != EMPTY).nonzero()[:, 0]
        if of is not None:
            slots = slots[self.tasks[slots] == of]
        if without is not None:
            slots = slots[self.tasks[slots] != without]
        if number is not None:
            slots = slots[torch.randperm(len(slots))[:number]]
        kept = self.kept()
        transform = kept.augment if augment and kept.augment is not None else kept.transform
        rows = kept.rows(slots)
        batch = kept.get_batch(rows, transform, torch.default_generator)
        found = {}
        for name, values in self.extras.items():
            self.extras[name] = values = values.to(rows.here.device)
            found[name] = values[rows.here]
        return batch, found

    def kept(self) -> Images:
        """The images in the slots; what is in empty ones means nothing."""
        if self._kept is None:
            filled = (self.tasks != EMPTY).nonzero()[:, 0]
            self._kept = self._blank(len(self.tasks))
            self._fill(filled)
        return self._kept

    def grow(self, slots: int) -> None:
        """Makes so many more slots."""
        self.tasks = torch.cat([self.tasks, torch.full((slots,), EMPTY)])
        self.rows = torch.cat([self.rows, torch.zeros(slots).long()])
        for name, values in self.extras.items():
            self.extras[name] = torch.cat([values, values.new_zeros(slots, *values.shape[1:])])
        self._kept = None

    def _put(self, slots: Tensor, tasks: Tensor, rows: Tensor) -> None:
        if self._held is not None:
            self._held -= self._pairs(slots)
        self.tasks[slots], self.rows[slots] = tasks, rows
        if self._held is not None:
            self._held |= self._pairs(slots)
        if self._kept is not None:
            self._fill(slots)

    def _keep_beside(self, name: str, slots: Tensor, chosen: Tensor, values: Tensor) -> None:
        """Rows (b, n) may have more or fewer columns than before: what is missing is NaN."""
        slots, chosen = torch.stack([slots, chosen]).to(values.device)
        values = values[chosen]
        kept = self.extras.get(name)
        if kept is None:
            kept = values.new_zeros(len(self.tasks), *values.shape[1:])
        more = values.shape[1] - kept.shape[1] if values.dim() == 2 else 0
        kept = kept.to(values.device)
        if more > 0:
            kept = F.pad(kept, (0, more), value=torch.nan)
        if more < 0:
            values = F.pad(values, (0, -more), value=torch.nan)
        kept[slots] = values.to(kept.dtype)
        self.extras[name] = kept

    def _blank(self, slots: int) -> Images:
        like = next(iter(self._images.values()))
        moments = like.scale.shape[-3:]
        made = Images(
            torch.zeros(slots, *like.x.shape[1:], dtype=like.x.dtype, device=like.y.device),
            like.y.new_zeros(slots),
            torch.zeros(slots).long(),
        ).served_as(like)
        if like.features is not None:  # of a body that stays as it is
            made.features = like.features.new_zeros(slots, *like.features.shape[1:])
        if not self._alike or like.scale.dim() == 4:
            made.scale = like.scale.new_ones(slots, *moments)
            made.shift = like.shift.new_zeros(slots, *moments)
        return made

    def _fill(self, slots: Tensor) -> None:
        """Copies the images of some slots from their tasks."""
        kept = self.kept()
        for task in self.tasks[slots].unique().tolist():
            here = slots[self.tasks[slots] == task]
            part = self._images[task].part(self.rows[here])
            there = here.to(kept.x.device)
            kept.x[there], kept.y[there] = part.x[:].to(kept.x.device), part.y
            if kept.features is not None:
                assert part.features is not None
                kept.features[there] = part.features.to(kept.features.device)
            if kept.scale.dim() == 4:
                kept.scale[there], kept.shift[there] = part.moments()
            kept.t[here], kept.row[here] = part.t, part.row

    def get_extra_state(self) -> dict[str, Any]:
        extras = {name: values.clone() for name, values in self.extras.items()}
        places = {"tasks": self.tasks.clone(), "rows": self.rows.clone()}
        return {"seen": self.seen, **places, "extras": extras}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.seen, self.extras = state["seen"], dict(state["extras"])
        self.tasks, self.rows = state["tasks"].clone(), state["rows"].clone()
        self._kept = self._held = None


class Reservoir(Memory):
    """A uniform sample of the images of the stream, of fixed size (Vitter 1985).

    An image counts as often as it is trained on: after several epochs it may be in several slots.

    Args:
        size: images kept.
        batchwise: draw for all images of a batch with the count before it, as TAG's released
            program does, which is uniform only roughly; else image by image, exactly.

    >>> import torch
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> visit = stream.visits[0]
    >>> memory = Reservoir(5)
    >>> memory.begin_task(visit)
    >>> memory.add(visit.train[torch.arange(0, 200, 3)])
    >>> len(memory)
    5
    """

    def __init__(self, size: int, batchwise: bool = False) -> None:
        super().__init__()
        _check_size("memory", size)
        self.size, self.batchwise = size, batchwise
        self.grow(size)

    def places(self, batch: Batch) -> Sequence[int | None]:
        begun, count = self.seen, len(batch.y)
        placed = min(max(self.size - begun, 0), count)
        slots = torch.arange(begun, begun + placed)
        if placed < count:
            highest = torch.arange(begun + placed, begun + count, dtype=torch.double) + 1
            if self.batchwise:
                highest = torch.full_like(highest, begun + placed)
            drawn = (torch.rand(count - placed, dtype=torch.double) * highest).long()
            slots = torch.cat([slots, drawn])
        return [slot if slot < self.size else None for slot in slots.tolist()]


class RingBuffer(Memory):
    """The latest images of every class of every task, each image once.

    Args:
        per_class: images kept of a class.

    >>> import torch
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> visit = stream.visits[0]
    >>> memory = RingBuffer(1)
    >>> memory.begin_task(visit)
    >>> memory.add(visit.train[torch.arange(0, 200, 3)])
    >>> len(memory)
    2
    """

    def __init__(self, per_class: int) -> None:
        super().__init__()
        _check_size("per_class", per_class)
        self.per_class = per_class
        self.offered: dict[int, list[int]] = {}  # images met of each class of each task
        self._first: dict[int, int] = {}  # slot of each task

    def meet(self, task: Task) -> None:
        super().meet(task)
        if task.index not in self.offered:
            self.offered[task.index] = [0] * len(task.classes)
            self._first[task.index] = len(self.tasks)
            self.grow(len(task.classes) * self.per_class)

    def places(self, batch: Batch) -> Sequence[int | None]:
        slots: list[int | None] = []
        for (task, label), new in zip(self.labels(batch), self.new(batch), strict=True):
            if not new:
                slots.append(None)
                continue
            turn = self.offered[task][label] % self.per_class
            slots.append(self._first[task] + label * self.per_class + turn)
            self.offered[task][label] += 1
        return slots

    def get_extra_state(self) -> dict[str, Any]:
        offered = {task: list(counts) for task, counts in self.offered.items()}
        return {**super().get_extra_state(), "offered": offered, "first": dict(self._first)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self.offered.update(state["offered"])
        self._first.update(state["first"])


class Balanced(Memory):
    """As many images of every class met as of any other, as far as there are (GDumb).

    Prabhu, Torr, Dokania, "GDumb: A Simple Approach that Questions Our Progress in Continual
    Learning", ECCV 2020: an image of a class that has not its share yet replaces one at random of
    the largest class.

    Args:
        size: images kept.

    >>> import torch
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> visit = stream.visits[0]
    >>> memory = Balanced(4)
    >>> memory.begin_task(visit)
    >>> memory.add(visit.train[torch.arange(0, 200, 3)])
    >>> len(memory)
    4
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        _check_size("memory", size)
        self.size = size
        self.classes: dict[int, tuple[int, ...]] = {}
        self.numbers = torch.full((size,), EMPTY)  # class number of each slot
        self.grow(size)

    def meet(self, task: Task) -> None:
        super().meet(task)
        self.classes[task.index] = task.classes

    def places(self, batch: Batch) -> Sequence[int | None]:
        return [
            self._place(self.classes[task][label]) if new else None
            for (task, label), new in zip(self.labels(batch), self.new(batch), strict=True)
        ]

    def _place(self, number: int) -> int | None:
        met, sizes = self.numbers.unique(return_counts=True)
        counts: dict[int, int] = dict(zip(met.tolist(), sizes.tolist(), strict=True))
        free = counts.pop(EMPTY, 0)
        own = counts.get(number, 0)
        share = max(self.size // len(counts.keys() | {number}), 1)
        if free:
            slot = self.size - free
        elif own >= share or own >= max(counts.values()):
            return None
        else:
            largest = max(counts, key=lambda n: counts[n])
            slots = (self.numbers == largest).nonzero()[:, 0]
            slot = int(slots[torch.randint(len(slots), ())])
        self.numbers[slot] = number
        return slot

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "numbers": self.numbers.clone()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self.numbers = state["numbers"].clone()


class Exemplars(Memory):
    """Images that a method chooses itself, such as by herding, the most wanted of a class first.

    Attributes:
        checksums: of the training images of each task that some are of, by its index.

    >>> import torch
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> visit = stream.visits[0]
    >>> memory = Exemplars()
    >>> memory.begin_task(visit)
    >>> memory.keep(visit.task, torch.tensor([3, 5, 8]))
    >>> len(memory.images([0]))
    3
    """

    def __init__(self) -> None:
        super().__init__()
        self.checksums: dict[int, int] = {}

    def keep(self, task: Task, rows: Tensor, **extras: Tensor) -> None:
        """Adds some of a task's training images.

        Args:
            task: whose images.
            rows: (n,), places among them, in the order in which they are wanted.
            **extras: see `Memory.add`.
        """
        self.meet(task)
        self.checksums[task.index] = task.train.checksum()
        labels = task.train.y.cpu()[rows]
        nothing = torch.zeros(len(rows), 0)
        self.add(Batch(nothing, labels, torch.full_like(rows, task.index), rows), **extras)

    def places(self, batch: Batch) -> Sequence[int | None]:
        first = len(self.tasks)
        self.grow(len(batch.y))
        return range(first, first + len(batch.y))

    def images(self, tasks: Sequence[int]) -> Images:
        """Those of some tasks, in their order."""
        parts = [self._images[task].part(self.rows[self.tasks == task]) for task in tasks]
        return Images.joined(parts)

    def shrink(self, per_class: int) -> Self:
        """Lets all but the most wanted of each class of each task go."""
        counts: dict[tuple[int, int], int] = {}
        stays = []
        for slot, task in enumerate(self.tasks.tolist()):
            key = task, int(self._labels[task][self.rows[slot]])
            counts[key] = counts.get(key, 0) + 1
            if counts[key] <= per_class:
                stays.append(slot)
        self.tasks, self.rows, self._kept = self.tasks[stays], self.rows[stays], None
        self.extras = {name: values[stays] for name, values in self.extras.items()}
        return self

    def get_extra_state(self) -> dict[str, Any]:
        return super().get_extra_state() | {"checksums": dict(self.checksums)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self.checksums = dict(state["checksums"])
