"""Memory aware synapses (MAS): weights that the outputs are sensitive to are held.

Aljundi, Babiloni, Elhoseiny, Rohrbach, Tuytelaars, "Memory Aware Synapses: Learning what (not) to
forget", ECCV 2018 (arXiv 1711.09601). The importance of a weight is the mean over images of the
absolute gradient of the squared norm of the task's class scores; no label is used. In the local
form each layer y = relu(W u) is its own function, and the importance the mean of |y u^T|.

Departure from the authors' program: the absolute value is taken for each image, as the paper
writes it, and not for each batch (`estimator=batched`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lifelong.data import Batch, Images, Task, Visit, unlabeled
from lifelong.data.sources import Source
from lifelong.networks import TaskNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.per_image import (
    absolute_sum,
    batch_mean,
    image_mean,
    local_mean,
    single_score,
    squared_norm,
)
from lifelong.strategies.anchored import Anchored, shared
from lifelong.strategies.learner import MakeOptimizer

PARTS = ("train", "val", "test", "train+test")
PIXELS = 2**20  # of the images that an exact importance is estimated on at once
OBJECTIVES = {"squared_norm": squared_norm, "absolute_sum": absolute_sum}


class MAS(Anchored):
    """Cross-entropy plus strength * sum of importance (theta - anchor)^2.

    Args:
        network: see `Strategy`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        strength: lambda.
        penalty: see `Anchored`.
        halve_below: see `Anchored`.
        importance: `global`, of the class scores, or `local`, of each layer's own output.
        objective: of the scores, for `global`: `squared_norm`, `absolute_sum`, or `each_score`: the
            absolute gradients of the single scores are added up, which takes a backward pass for
            each class.
        estimator: for `global`: `exact`, or `batched`: absolute values of batches' gradients.
        batch_size: images of a batch of `batched`.
        accumulate: how the tasks' importances are put together: their `sum`; their mean weighted by
            images (`running_mean`); `ema`: `alpha` of what was gathered and the rest of the new,
            the first task's in full; or `recompute`: the sum, estimated anew for all tasks with the
            weights as they are, which needs the images of earlier tasks.
        alpha: see `accumulate`.
        importance_data: images that the importance is estimated on, without labels: of the task
            `train`, `val`, `test` (the paper's transductive condition) or `train+test`; or a
            person's own, the same after every task: a folder or zip file, or a source.
        samples: so many of them, drawn at random; null for all.

    Raises:
        ValueError: a value out of range; no images; a local importance where the layers are not
            plain.
    """

    not_loaded: ClassVar[dict[str, str]] = {"importance_data": "train"}
    acts_with: ClassVar[dict[str, str]] = {
        "batch_size": "estimator=batched",
        "alpha": "accumulate=ema",
    }

    def __init__(
        self,
        network: TaskNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        strength: float = 1.0,
        penalty: Literal["gradient", "proximal"] = "gradient",
        halve_below: float = 0.0,
        importance: Literal["global", "local"] = "global",
        objective: Literal["squared_norm", "absolute_sum", "each_score"] = "squared_norm",
        estimator: Literal["exact", "batched"] = "exact",
        batch_size: int = 200,
        accumulate: Literal["sum", "running_mean", "ema", "recompute"] = "sum",
        alpha: float = 0.5,
        importance_data: str | Source = "train",
        samples: int | None = None,
    ) -> None:
        super().__init__(
            network, optimizer, schedule, strength=strength, penalty=penalty,
            halve_below=halve_below,
        )  # fmt: skip
        if batch_size < 1 or (samples is not None and samples < 1):
            raise ValueError(
                f"strategy.batch_size={batch_size}, strategy.samples={samples}: give 1 or more"
            )
        if importance == "local" and (estimator != "exact" or objective != "squared_norm"):
            raise ValueError(
                f"strategy.importance=local: has no strategy.estimator={estimator} or "
                f"strategy.objective={objective}; leave them as they are"
            )
        if not 0 <= alpha <= 1:
            raise ValueError(f"strategy.alpha={alpha}: give a share from 0 to 1")
        self.local, self.objective = importance == "local", OBJECTIVES.get(objective)
        self.batched, self.batch_size = estimator == "batched", batch_size
        self.accumulate, self.alpha = accumulate, alpha
        self.data, self.samples = importance_data, samples
        own = isinstance(importance_data, Source) or importance_data in PARTS
        if not own and not Path(str(importance_data)).expanduser().exists():
            raise ValueError(
                f"strategy.importance_data={importance_data}: give {', '.join(PARTS)}, or a folder "
                "or zip file of images"
            )
        self.images = 0  # that the gathered importance was estimated on
        self._new = 0  # that the task's was
        self._met: dict[int, Visit] = {}  # whose images `recompute` needs
        self.method |= {"importance": importance, "accumulate": accumulate, "estimator": estimator}

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        if self.accumulate == "recompute":
            self._met[visit.task.index] = visit

    def importance(self, visit: Visit, loader: DataLoader[Batch]) -> dict[str, Tensor]:
        found = [self._of_visit(known) for known in (self._met or {0: visit}).values()]
        return {name: sum(each[name] for each in found) for name in found[0]}  # type: ignore[misc]

    def _of_visit(self, visit: Visit) -> dict[str, Tensor]:
        """The importance for what a visit learned, with the weights as they are."""
        chosen = self._chosen(visit)
        self._new = sum(len(rows) for _, rows in chosen)
        if self.local:
            return local_mean(self.network, self._batches(chosen), self._regularized)
        mean = batch_mean if self.batched else image_mean
        if self.objective is not None:
            return mean(self.network, self._batches(chosen), self._regularized, self.objective)
        found = [
            mean(
                self.network, self._batches(chosen), self._regularized, partial(single_score, label)
            )
            for label in range(max(len(task.classes) for task in visit.tasks))
        ]
        return {name: sum(each[name] for each in found) for name in found[0]}  # type: ignore[misc]

    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        super().end_task(visit, loader)
        self.images += self._new

    def accumulate_importance(self, name: str, found: Tensor) -> None:
        gathered = self.anchor.importance(name)
        if self.accumulate == "sum":
            gathered.add_(found)
        elif self.images == 0 or self.accumulate == "recompute":
            gathered.copy_(found)
        elif self.accumulate == "ema":
            gathered.mul_(self.alpha).add_((1 - self.alpha) * found)
        else:
            gathered.lerp_(found, self._new / (self.images + self._new))

    def _chosen(self, visit: Visit) -> list[tuple[Images, Tensor]]:
        """The images that the importance is estimated on, as splits and indices into them."""
        parts = self._parts(visit)
        ends = torch.tensor([0, *(len(part) for part in parts)]).cumsum(0)
        rows = torch.arange(int(ends[-1]))
        if self.samples is not None:
            rows = torch.randperm(len(rows))[: self.samples]
        return [
            (part, rows[(rows >= first) & (rows < end)] - first)
            for part, first, end in zip(parts, ends, ends[1:], strict=False)
        ]

    def _batches(self, chosen: Sequence[tuple[Images, Tensor]]) -> Iterator[Batch]:
        for part, rows in chosen:
            for some in rows.split(self._batch_of(part)) if len(rows) else ():
                yield part[some]

    def _batch_of(self, part: Images) -> int:
        if self.batched:
            return self.batch_size
        pixels = part[torch.zeros(1, dtype=torch.long)].x.numel()  # of an image as it is served
        return min(max(PIXELS // pixels, 10), 500)

    def _parts(self, visit: Visit) -> list[Images]:
        if isinstance(self.data, str) and self.data in PARTS:
            parts = {"train": visit.train, "val": visit.task.val, "test": visit.task.test}
            return [parts[name] for name in self.data.split("+")]
        try:
            return [unlabeled(self.data, visit.train)]
        except ValueError as error:
            raise ValueError(f"strategy.importance_data: {error}") from None

    def check(self, tasks: Sequence[Task]) -> None:
        """Refuses tasks without images for the importance, and bodies without a local one."""
        own = isinstance(self.data, Source) or self.data not in PARTS
        for task in tasks[:1] if own else tasks:  # a person's own are read once
            if not any(len(part) for part in self._parts(Visit(1, task, False))):
                raise ValueError(
                    f"strategy.importance_data={self.data}: {task.name} has no such images; give "
                    "a larger data.validation, or other images"
                )
        if self.local:
            network = copy.deepcopy(self.network).eval()
            network.add_task(0, tasks[0].classes)
            one = tasks[0].train[torch.zeros(1, dtype=torch.long)]
            local_mean(network, [one], shared(network))

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "images": self.images}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self.images = state["images"]
