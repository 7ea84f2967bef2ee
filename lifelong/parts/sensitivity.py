"""How sensitive the network's outputs are to each weight (memory aware synapses)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lifelong.data import Batch, Images, Task, Visit, unlabeled
from lifelong.data.sources import Source
from lifelong.networks import TaskNetwork
from lifelong.parts.anchor import Named
from lifelong.parts.importance import Importance, added, tried, try_exact
from lifelong.parts.per_image import (
    absolute_sum,
    batch_mean,
    cross_entropy,
    image_mean,
    local_mean,
    single_score,
    squared_norm,
)

PARTS = ("train", "val", "test", "train+test")
PIXELS = 2**20  # of the images that an exact importance is estimated on at once
OBJECTIVES = {"squared_norm": squared_norm, "absolute_sum": absolute_sum}


class Sensitivity(Importance):
    """Mean over images of the absolute gradient of what the network answers; no label is used.

    Args:
        scope: `global`, of the class scores, or `local`, of each layer's own output.
        objective: of the scores, for `global`: `squared_norm`, `absolute_sum`, or `each_score`: the
            absolute gradients of the single scores are added up, which takes a backward pass for
            each class.
        estimator: for `global`: `exact`, or `batched`: absolute values of batches' gradients.
        batch_size: images of a batch of `batched`.
        images: that it is estimated on: of the task `train`, `val`, `test` (the paper's
            transductive condition) or `train+test`; or a person's own, the same after every task:
            a folder or zip file, or a source.
        samples: so many of them, drawn at random; null for all.

    Attributes:
        count: images of the last estimate.

    Raises:
        ValueError: a value out of range; no images; a local importance where the layers are not
            plain.

    >>> from functools import partial
    >>> from lifelong import MultiHead, Network, by_class, mlp
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead).eval()
    >>> network.add_task(0, [0, 1])
    >>> named = dict(network.named_parameters())
    >>> found = Sensitivity(objective="absolute_sum")(network, stream.visits[0], named)
    >>> found["body.0.weight"].shape
    torch.Size([16, 64])
    """

    not_loaded: ClassVar[dict[str, str]] = {"images": "train"}
    acts_with: ClassVar[dict[str, str]] = {"batch_size": "estimator=batched"}

    def __init__(
        self,
        *,
        scope: Literal["global", "local"] = "global",
        objective: Literal["squared_norm", "absolute_sum", "each_score"] = "squared_norm",
        estimator: Literal["exact", "batched"] = "exact",
        batch_size: int = 200,
        images: str | Source = "train",
        samples: int | None = None,
    ) -> None:
        if batch_size < 1 or (samples is not None and samples < 1):
            raise ValueError(
                f"strategy.importance.batch_size={batch_size}, strategy.importance.samples="
                f"{samples}: give 1 or more"
            )
        if scope == "local" and (estimator != "exact" or objective != "squared_norm"):
            raise ValueError(
                f"strategy.importance.scope=local: has no strategy.importance.estimator={estimator}"
                f" or strategy.importance.objective={objective}; leave them as they are"
            )
        self.own = isinstance(images, Source) or images not in PARTS
        if self.own and isinstance(images, str) and not Path(images).expanduser().exists():
            raise ValueError(
                f"strategy.importance.images={images}: give {', '.join(PARTS)}, or a folder or zip "
                "file of images"
            )
        self.scope, self.objective, self.estimator = scope, objective, estimator
        self.batch_size, self.images, self.samples = batch_size, images, samples
        self.count = 0

    def __call__(self, network: TaskNetwork, visit: Visit, named: Named) -> dict[str, Tensor]:
        drawn = self._drawn(visit)
        self.count = sum(len(rows) for _, rows in drawn)
        if self.scope == "local":
            return local_mean(network, self._batches(drawn), named)
        mean = batch_mean if self.estimator == "batched" else image_mean
        classes = max(len(task.classes) for task in visit.tasks)
        objectives = (
            [partial(single_score, label) for label in range(classes)]
            if self.objective == "each_score"
            else [OBJECTIVES[self.objective]]
        )
        return added([mean(network, self._batches(drawn), named, each) for each in objectives])

    def _drawn(self, visit: Visit) -> list[tuple[Images, Tensor]]:
        """The images that it is estimated on, as splits and indices into them."""
        parts = self._parts(visit)
        ends = torch.tensor([0, *(len(part) for part in parts)]).cumsum(0)
        rows = torch.arange(int(ends[-1]))
        if self.samples is not None:
            rows = torch.randperm(len(rows))[: self.samples]
        return [
            (part, rows[(rows >= first) & (rows < end)] - first)
            for part, first, end in zip(parts, ends, ends[1:], strict=False)
        ]

    def _batches(self, drawn: Sequence[tuple[Images, Tensor]]) -> Iterator[Batch]:
        for part, rows in drawn:
            for some in rows.split(self._batch_of(part)) if len(rows) else ():
                yield part[some]

    def _batch_of(self, part: Images) -> int:
        if self.estimator == "batched":
            return self.batch_size
        pixels = part[torch.zeros(1, dtype=torch.long)].x.numel()  # of an image as it is served
        return min(max(PIXELS // pixels, 10), 500)

    def _parts(self, visit: Visit) -> list[Images]:
        if not self.own:
            parts = {"train": visit.train, "val": visit.task.val, "test": visit.task.test}
            return [parts[name] for name in str(self.images).split("+")]
        try:
            return [unlabeled(self.images, visit.train)]
        except ValueError as error:
            raise ValueError(f"strategy.importance.images: {error}") from None

    def check(self, network: TaskNetwork, tasks: Sequence[Task]) -> None:
        """Refuses tasks without images for it, and bodies without a local one."""
        for task in tasks[:1] if self.own else tasks:  # a person's own are read once
            if not any(len(part) for part in self._parts(Visit(1, task, False))):
                raise ValueError(
                    f"strategy.importance.images={self.images}: {task.name} has no such images; "
                    "give a larger data.validation, or other images"
                )
        if self.scope == "local":
            tried(network, tasks, local_mean)
        elif self.estimator == "exact":
            try_exact(network, tasks, cross_entropy)
