"""Class-incremental learning with two branches and lottery teaching, dense.

Chen, Zhang, Liu, Chang, Wang, "Long Live the Lottery: The Existence of Winning Tickets in Lifelong
Learning", ICLR 2021, as its released program trains the full model.

From the second task on a step has four batches: R, of the new classes and the exemplars as they
come, for the auxiliary branch; N and O, of the new classes and of the exemplars in balance, for the
main branch; and U, unlabeled images near the exemplars, on which both branches are to answer for
the old classes as the network before the task did ("lottery teaching").

Departures: U passes through the body once for both branches, so its batch statistics count once;
no image of the withdrawn 80 Million Tiny Images.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Generator, Tensor
from torch.utils.data import DataLoader

from lifelong.data import Batch, Feed, Images, Task, unlabeled
from lifelong.data.sources.pickled import by_label
from lifelong.data.stream import EVALUATION_BATCH
from lifelong.data.unlabeled import Origin
from lifelong.networks import TwoBranchNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.distillation import distillation
from lifelong.parts.neighbours import nearest_without_replacement
from lifelong.strategies.strategy import MakeOptimizer, Round, Rounds, Strategy


class CIL(Strategy):
    """Rehearsal in balance, and distillation on unlabeled images.

    With k tasks met before, T the temperature and means over batches, the loss is
    CE(aux(R)) + KD(aux(U)) + 1/2 (n CE(main(N)) + o CE(main(O)) + KD(main(U))), n and o being the
    shares of N and O in a batch; KD = T^2 times `distillation` on the old classes. In the first
    task it is CE(main) + CE(aux).

    Args:
        network: of two branches.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        batch_size: of the first task; later R and U have a quarter, N and O share a quarter in the
            proportion 1 : k.
        memory: exemplars of each class.
        exemplars: `random`, or by `herding`: those whose mean feature stays nearest to the class's;
            or a pickle {class number: uint8 (n, h, w, c)} of some of the training images, as the
            released program reads it, which are taken all.
        unlabeled: where U is taken from: `exemplars` (U are these themselves), `none` (without
            distillation), or see `lifelong.data.unlabeled`.
        neighbours: images that an exemplar takes, nearest first, each image once.
        most: images of U at most; null for no limit but the source's.
        temperature: T, above 0.

    Raises:
        ValueError: a value out of range.
    """

    not_loaded: ClassVar[dict[str, str]] = {"unlabeled": "none"}
    acts_with: ClassVar[dict[str, str]] = {
        "neighbours": "unlabeled!=none|exemplars",
        "most": "unlabeled!=none|exemplars",
        "temperature": "unlabeled!=none",
        "memory": "exemplars=random|herding",
    }

    def __init__(
        self,
        network: TwoBranchNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        batch_size: int,
        memory: int = 100,
        exemplars: str = "random",
        unlabeled: str | Origin = "none",
        neighbours: int = 50,
        most: int | None = None,
        temperature: float = 2.0,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        for name, value in (("memory", memory), ("neighbours", neighbours), ("most", most)):
            if value is not None and value < 1:
                raise ValueError(f"strategy.{name}={value}: give 1 or more")
        if temperature <= 0:
            raise ValueError(f"strategy.temperature={temperature}: give a number above 0")
        self.batch_size, self.memory, self.exemplars = batch_size, memory, exemplars
        self.pool, self.neighbours, self.most = unlabeled, neighbours, most
        self.temperature = temperature
        self._met: dict[int, Task] = {}
        self._used: set[int] = set()  # class numbers of the whole stream
        self._tasks: list[int] = []  # whose classes are told apart
        self._earlier: list[int] = []
        self._rows: dict[int, Tensor] = {}  # of the exemplars among a task's training images
        self._taught: dict[str, Any] = {}  # U: indices, seed of the views, the teacher's scores
        self._taught_before: dict[str, Any] = {}  # U while the last finished task was learned
        self._prints: dict[int, int] = {}  # checksums of the tasks' training images
        self._views: Images | None = None  # of U
        self._file: dict[int, NDArray[np.uint8]] | None = None  # exemplars that the user brought
        self.method = {"unlabeled": getattr(unlabeled, "name", unlabeled), "selected": {}}

    @property
    def two(self) -> TwoBranchNetwork:
        assert isinstance(self.network, TwoBranchNetwork)
        return self.network

    def check(self, tasks: Sequence[Task]) -> None:
        least = self.batch_size // 4 // len(tasks)
        if len(tasks) > 1 and not least:
            raise ValueError(
                f"batch_size={self.batch_size}: the last of {len(tasks)} tasks has no new images "
                f"in a batch; give {4 * len(tasks)} or more"
            )
        every = [number for task in tasks for number in task.classes]
        again = [number for number in every if every.count(number) > 1]
        if again:
            raise ValueError(
                f"data.classes: class {again[0]} belongs to two tasks, and {type(self).__name__} "
                "tells the classes of all tasks apart; give each class to one task"
            )
        self._used = set(every)
        if self.exemplars not in ("random", "herding"):
            for task in tasks:
                self._brought(task)
        if self.pool not in ("none", "exemplars") and not len(self._pool(tasks[0])):
            raise ValueError(
                f"unlabeled={self.method['unlabeled']}: has no images; give others, or "
                "unlabeled=none"
            )

    def begin_task(self, task: Task) -> None:
        super().begin_task(task)
        self._met[task.index] = task
        self._prints[task.index] = task.train.checksum()
        self._enter(task, list(self.classes))

    def _enter(self, task: Task, tasks: list[int]) -> None:
        """Makes `task` the one that is learned, of the `tasks` met until then."""
        self._tasks, self._earlier = tasks, [index for index in tasks if index != task.index]
        self._views = None

    def answered(self) -> list[int]:
        return self._tasks

    def rounds(self, task: Task) -> Rounds:
        yield self._round(task)

    def _round(self, task: Task) -> Round:
        if not self._earlier:
            return Round()
        met = [self._met[index] for index in self._tasks]
        new, old = self._shares()
        return Round(
            train=lambda: Images.joined([task.train, self._exemplars(self._earlier)]),
            val=Images.joined([each.val for each in met]),
            batch_size=self.batch_size // 4,
            feeds={
                "new": Feed(task.train, new),
                "old": Feed(lambda: self._exemplars(self._earlier), old),
                "taught": Feed(lambda: self._shown(task), augment=False),
            },
        )

    def _shares(self) -> tuple[int, int]:
        """Images of a batch of N and of O."""
        quarter, k = self.batch_size // 4, len(self._earlier)
        return quarter // (1 + k), quarter * k // (1 + k)

    @property
    def teacher(self) -> dict[str, Any]:
        """What is taught while a task is learned; empty for nothing."""
        return self._taught

    def training_loss(
        self,
        batch: Batch,
        new: Batch | None = None,
        old: Batch | None = None,
        taught: Batch | None = None,
    ) -> Tensor:
        features = self.two.body(batch.x)
        loss = self._error(self.two.aside(features, self._tasks), batch)
        if not self._earlier:
            return loss + self._error(self.two.main(features, self._tasks), batch)
        balanced = batch.x.new_zeros(())
        for part, count in zip((new, old), self._shares(), strict=True):
            assert part is not None
            scores = self.two.main(self.two.body(part.x), self._tasks)
            balanced = balanced + count / (self.batch_size // 4) * self._error(scores, part)
        if taught is not None:
            aside, main = self._teaching(taught)
            loss, balanced = loss + aside, balanced + main
        return loss + balanced / 2

    def _error(self, scores: Sequence[Tensor], batch: Batch) -> Tensor:
        """Cross-entropy over the classes of all tasks met, which `scores` are for."""
        first, begins = 0, {}
        for task, classes in self.classes.items():
            begins[task], first = first, first + len(classes)
        begin = torch.tensor([begins[task] for task in batch.t.tolist()], device=batch.y.device)
        return F.cross_entropy(torch.cat(list(scores), 1), begin + batch.y)

    def _teaching(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """KD of the auxiliary and the main branch on some of U."""
        taught, known = self.teacher, self.teacher["tasks"]
        features = self.two.body(batch.x)
        losses = [
            self.temperature**2
            * distillation(
                torch.cat(scores, 1),
                taught[branch][batch.row].to(batch.x.device),
                self.temperature,
            )
            for branch, scores in (
                ("aside", self.two.aside(features, known)),
                ("main", self.two.main(features, known)),
            )
        ]
        return losses[0], losses[1]

    def _exemplars(self, tasks: Sequence[int]) -> Images:
        return Images.joined([self._met[task].train.part(self._rows[task]) for task in tasks])

    @torch.no_grad()
    def end_task(self, task: Task, loader: DataLoader[Batch]) -> None:
        super().end_task(task, loader)
        self.eval()
        if task.index not in self._rows:
            self._rows[task.index] = self._chosen(task)
        self._taught_before, self._taught = self._taught, {}
        if self.pool != "none" and not task.last:
            self._prepare(task)
            self.method["selected"][str(task.step)] = len(self._taught["rows"])
        self.train()

    def _chosen(self, task: Task) -> Tensor:
        """The rows of the exemplars of a task's classes; its images come in random order."""
        if self.exemplars not in ("random", "herding"):
            return self._brought(task)
        found = []
        for label in range(len(task.classes)):
            rows = torch.nonzero(task.train.y.cpu() == label).flatten()
            if self.exemplars == "herding":
                features = F.normalize(self._features(task.train.part(rows)))
                rows = rows[herded(features, min(self.memory, len(rows)))]
            found.append(rows[: self.memory])
        return torch.cat(found)

    def _brought(self, task: Task) -> Tensor:
        """The rows of the images that the user's file has of a task's classes."""
        if self._file is None:
            self._file = by_label(Path(self.exemplars).expanduser(), task.train.x.shape[1:])
        pixels = task.train.x.cpu().numpy()
        rows = {
            (label, pixels[row].tobytes()): row for row, label in enumerate(task.train.y.tolist())
        }
        found = [
            rows.get((label, image.tobytes()))
            for label, number in enumerate(task.classes)
            for image in self._file.get(number, ())
        ]
        if not found or None in found:
            raise ValueError(
                f"strategy.exemplars={self.exemplars}: {found.count(None)} of its {len(found)} "
                f"images of {task.name} are not among the training images"
            )
        return torch.tensor(found)

    def _prepare(self, task: Task) -> None:
        """Chooses U for the next task, draws its views, and keeps what the network answers."""
        anchors = self._exemplars(self._tasks)
        pool = anchors if self.pool == "exemplars" else self._pool(task)
        rows = torch.arange(len(pool))
        if self.pool != "exemplars":
            rows = nearest_without_replacement(
                self._features(anchors), self._features(pool), self.neighbours, self.most
            ).cpu()
            asked = min(self.neighbours * len(anchors), self.most or math.inf)
            if len(rows) < asked:
                self.tell(
                    f"visit {task.step + 1}: unlabeled={self.method['unlabeled']} has {len(pool)} "
                    f"images; {len(rows)} are taken, where {asked} were asked for"
                )
        self._taught = {
            "rows": rows,
            "seed": int(torch.randint(2**62, ())),
            "tasks": self._tasks,
            "task": task.index,
        }
        self._views = self._viewed(pool)
        self._taught["checksum"] = self._views.checksum()
        parts: dict[str, list[Tensor]] = {"aside": [], "main": []}
        for some in torch.arange(len(rows)).split(EVALUATION_BATCH):
            features = self.two.body(self._views[some].x)
            parts["aside"].append(torch.cat(self.two.aside(features, self._tasks), 1).cpu())
            parts["main"].append(torch.cat(self.two.main(features, self._tasks), 1).cpu())
        self._taught |= {branch: torch.cat(scores) for branch, scores in parts.items()}

    def _shown(self, task: Task) -> Images:
        """The views of U: frozen, the same in all epochs, and found again after a stop."""
        if not self.teacher:
            return task.train.part(torch.zeros(0).long())
        if self._views is None:
            task = self._met[self.teacher["task"]]
            own = self.pool == "exemplars"
            pool = self._exemplars(self.teacher["tasks"]) if own else self._pool(task)
            self._views = self._viewed(pool)
            if self._views.checksum() != self.teacher["checksum"]:
                raise ValueError(
                    f"strategy.unlabeled={self.method['unlabeled']}: is not what it was when "
                    "images were chosen from it; bring it back, or begin the run anew"
                )
        return self._views

    def _viewed(self, pool: Images) -> Images:
        """The chosen images of the pool, each under its fixed transform."""
        views = pool.part(self.teacher["rows"])
        views.row, augment, views.transform = torch.arange(len(views)), pool.augment, None
        if augment is not None:
            generator = Generator().manual_seed(self.teacher["seed"])
            parts = views.x.split(EVALUATION_BATCH)
            views.x = torch.cat([augment(x.float(), generator).to(x.dtype) for x in parts])
        return views

    def _pool(self, task: Task) -> Images:
        try:
            return unlabeled(self.pool, task.train, self._used)
        except ValueError as error:
            raise ValueError(f"strategy.unlabeled: {error}") from None

    def _features(self, images: Images) -> Tensor:
        """(n, f), without augmentation."""
        parts = torch.arange(len(images)).split(EVALUATION_BATCH)
        return torch.cat([self.two.body(images[rows].x) for rows in parts])

    def get_extra_state(self) -> dict[str, Any]:
        return {
            **super().get_extra_state(), "rows": self._rows, "prints": self._prints,
            "taught": self._taught, "taught_before": self._taught_before,
            "used": sorted(self._used),
        }  # fmt: skip

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self._rows, self._prints, self._views = state["rows"], state["prints"], None
        self._taught, self._taught_before = state["taught"], state["taught_before"]


def herded(features: Tensor, count: int) -> Tensor:
    """Rows whose running mean stays nearest to the mean of all, in the order they are taken.

    Rebuffi et al., "iCaRL: Incremental Classifier and Representation Learning", CVPR 2017.

    Args:
        features: (n, f).
        count: rows to take, at most n.
    """
    mean, total = features.mean(0), torch.zeros_like(features[0])
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    found = []
    for number in range(1, count + 1):
        distances = (mean - (total + features) / number).square().sum(1)
        distances[~free] = torch.inf
        row = int(distances.argmin())
        free[row], total = False, total + features[row]
        found.append(row)
    return torch.tensor(found, dtype=torch.long)
