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

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from lifelong.data import Batch, Feed, Images, Task, Visit
from lifelong.data.unlabeled import Origin
from lifelong.networks import TwoBranchNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.exemplars import ExemplarChoice
from lifelong.parts.lottery_teaching import LotteryTeaching, features_of, lottery_teaching
from lifelong.parts.memory import Exemplars
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

    refuses: ClassVar[dict[str, str]] = Strategy.refuses | {
        "blurry": "its batches are made of the images of one task and of exemplars",
        "online": "new images are in two parts of its batches",
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
        self.batch_size, self.temperature = batch_size, temperature
        self.choice, self.kept = ExemplarChoice(exemplars, memory), Exemplars()
        self.taught = LotteryTeaching(unlabeled, neighbours, most)
        self._met: dict[int, Task] = {}
        self._tasks: list[int] = []  # whose classes are told apart
        self._earlier: list[int] = []
        self._prints: dict[int, int] = {}  # checksums of the tasks' training images
        self.method = {"unlabeled": self.taught.name, "selected": {}}

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
        self.taught.used = set(every)
        if self.choice.of_a_file:
            for task in tasks:
                self.choice.brought(task)
        if self.taught.origin not in ("none", "exemplars") and not len(self.taught.pool(tasks[0])):
            raise ValueError(
                f"unlabeled={self.taught.name}: has no images; give others, or unlabeled=none"
            )

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        self._met[visit.task.index] = visit.task
        self.kept.begin_task(visit)
        self._prints[visit.task.index] = visit.train.checksum()
        self._enter(visit, list(self.classes))

    def _enter(self, visit: Visit, tasks: list[int]) -> None:
        """Makes `task` the one that is learned, of the `tasks` met until then."""
        self._tasks, self._earlier = tasks, [index for index in tasks if index != visit.task.index]
        self.taught.forget_views()

    def answered(self) -> list[int]:
        return self._tasks

    def rounds(self, visit: Visit) -> Rounds:
        yield self._round(visit)

    def _round(self, visit: Visit) -> Round:
        if not self._earlier:
            return Round()
        met = [self._met[index] for index in self._tasks]
        new, old = self._shares()
        return Round(
            train=lambda: Images.joined([visit.train, self.kept.images(self._earlier)]),
            val=Images.joined([each.val for each in met]),
            batch_size=self.batch_size // 4,
            feeds={
                "new": Feed(visit.train, new),
                "old": Feed(lambda: self.kept.images(self._earlier), old),
                "taught": Feed(lambda: self._views(visit), augment=False),
            },
        )

    def _shares(self) -> tuple[int, int]:
        """Images of a batch of N and of O."""
        quarter, k = self.batch_size // 4, len(self._earlier)
        return quarter // (1 + k), quarter * k // (1 + k)

    @property
    def teacher(self) -> dict[str, Any]:
        """What is taught while a task is learned; empty for nothing."""
        return self.taught.now

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
            aside, main = lottery_teaching(self.two, self.teacher, taught, self.temperature)
            loss, balanced = loss + aside, balanced + main
        return loss + balanced / 2

    def _error(self, scores: Sequence[Tensor], batch: Batch) -> Tensor:
        """Cross-entropy over the classes of all tasks met, which `scores` are for."""
        first, begins = 0, {}
        for task, classes in self.classes.items():
            begins[task], first = first, first + len(classes)
        begin = torch.tensor([begins[task] for task in batch.t.tolist()], device=batch.y.device)
        return F.cross_entropy(torch.cat(list(scores), 1), begin + batch.y)

    def _views(self, visit: Visit) -> Images:
        """U, of which there may be nothing."""
        if not self.teacher:
            return visit.train.part(torch.zeros(0).long())
        taught = self.teacher
        return self.taught.views(taught, self._met[taught["task"]], self.kept.images)

    @torch.no_grad()
    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        super().end_task(visit, loader)
        self.eval()
        if visit.task.index not in self.kept.tasks.tolist():
            rows = self.choice.rows(visit.task, lambda images: features_of(self.two, images))
            self.kept.keep(visit.task, rows)
        self.taught.before, self.taught.now = self.taught.now, {}
        if self.taught.origin != "none" and not visit.is_last:
            anchors = self.kept.images(self._tasks)
            note = self.taught.prepare(visit, self._tasks, anchors, self.two)
            if note:
                self.tell(note)
            self.method["selected"][str(visit.number)] = len(self.taught.now["rows"])
        self.train()

    def get_extra_state(self) -> dict[str, Any]:
        taught = self.taught
        return {
            **super().get_extra_state(), "prints": self._prints, "taught": taught.now,
            "taught_before": taught.before, "used": sorted(taught.used),
        }  # fmt: skip

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self._prints = state["prints"]
        self.taught.now, self.taught.before = state["taught"], state["taught_before"]
        self.taught.forget_views()
