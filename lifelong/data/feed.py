"""Images that a round serves beside those of the task: named, seeded, augmented."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import torch
from torch import Generator
from torch.utils.data import Dataset, Sampler

from lifelong.data.seeds import derive
from lifelong.data.stored import begun_ahead
from lifelong.data.task import Batch, Images, Rows


@dataclass(frozen=True)
class Feed:
    """A batch of these images comes with every training batch of a round.

    They are shuffled anew whenever all were served (the last batch before that may be smaller), and
    at the begin of every epoch.

    Attributes:
        images: what is served, or what makes it just before the training; then state that a
            checkpoint holds is there again. Without images the feed is left out.
        batch_size: images of a batch; None for that of the round.
        augment: draw the training augmentation of the images; else they come as in tests.

    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> visit = stream.visits[0]
    >>> Feed(visit.train, batch_size=8, augment=False).batch_size
    8
    """

    images: Images | Callable[[], Images]
    batch_size: int | None = None
    augment: bool = True


class Fed(NamedTuple):
    """A training batch, and by their names those of the feeds."""

    batch: Batch
    feeds: dict[str, Batch]


class Served(Dataset[Batch]):
    """Images as they are trained on: under an augmentation that draws anew.

    Args:
        images: as they are kept.
        augment: whether to; else they come as in tests.
        generator: that the augmentation draws on.
    """

    def __init__(self, images: Images, augment: bool, generator: Generator) -> None:
        self.images, self.generator = images, generator
        chosen = images.augment if augment else None
        self.transform = images.transform if chosen is None else chosen

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: Rows) -> Batch:
        return self.images.get_batch(rows, self.transform, self.generator)


class ServedTogether(Dataset[Fed]):
    """A training set and its feeds, indexed by what `Together` draws."""

    def __init__(self, main: Dataset[Batch], feeds: Mapping[str, Dataset[Batch]]) -> None:
        self.main, self.feeds = main, feeds

    def __getitem__(self, drawn: tuple[Rows, Mapping[str, Rows]]) -> Fed:
        rows, others = drawn
        return Fed(self.main[rows], {name: self.feeds[name][own] for name, own in others.items()})


class ShuffledBatchSampler(Sampler[Rows]):
    """Batches of shuffled indices; the order is a function of `seed` and the epoch alone.

    It goes to the device of the images at once, not batch by batch. Pixels that lie apart are read
    ahead. A last batch that is smaller is left out with `drop_last`, unless it is the only one.
    """

    def __init__(
        self,
        images: Images,
        batch_size: int,
        drop_last: bool,
        seed: int,
        first_epoch: int,
    ) -> None:
        self.images, self.size = images, len(images)
        self.batch_size, self.drop_last = batch_size, drop_last
        self.seed, self.first_epoch, self.epoch = seed, first_epoch, first_epoch
        self.noise = Generator()  # for augmentations; begins anew with each epoch

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning with the epoch since this training began."""
        self.epoch = self.first_epoch + epoch

    def __len__(self) -> int:
        whole, rest = divmod(self.size, self.batch_size)
        return whole + (rest > 0 and not (self.drop_last and whole))

    def __iter__(self) -> Iterator[Rows]:
        return islice(self._drawn(self._begun()), len(self))

    def endless(self) -> Iterator[Rows]:
        """As `iter`, shuffled again whenever all were drawn."""
        generator = self._begun()
        while True:
            yield from self._drawn(generator)

    def _drawn(self, generator: Generator) -> Iterator[Rows]:
        order = torch.randperm(self.size, generator=generator)
        here = order.to(self.images.y.device)
        drawn = map(Rows, order.split(self.batch_size), here.split(self.batch_size))
        return begun_ahead(drawn, self.images.begun) if self.images.apart else drawn

    def _begun(self) -> Generator:
        self.noise.manual_seed(derive(self.seed, self.epoch, "transform"))
        return Generator().manual_seed(derive(self.seed, self.epoch))


class Together(Sampler[tuple[Rows, dict[str, Rows]]]):
    """Batches of a training set, and with each one of every feed."""

    def __init__(
        self, main: ShuffledBatchSampler, feeds: Mapping[str, ShuffledBatchSampler]
    ) -> None:
        self.main, self.feeds = main, feeds

    def set_epoch(self, epoch: int) -> None:
        """See `ShuffledBatchSampler`."""
        for sampler in (self.main, *self.feeds.values()):
            sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.main)

    def __iter__(self) -> Iterator[tuple[Rows, dict[str, Rows]]]:
        others = {name: sampler.endless() for name, sampler in self.feeds.items()}
        for rows in self.main:
            yield rows, {name: next(drawn) for name, drawn in others.items()}
