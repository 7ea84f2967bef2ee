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

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Required, TypedDict

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from lifelong.data import Batch, Feed, Images, Task, Visit
from lifelong.data.unlabeled import Origin
from lifelong.networks import TwoBranchNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.exemplars import ExemplarChoice
from lifelong.parts.lottery_teaching import LotteryTeaching, features_of
from lifelong.parts.memory import Exemplars
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Round, Rounds, Strategy


class CILOptions(TypedDict, total=False):
    """Options of `CIL` that every method takes that stands on it."""

    batch_size: Required[int]
    memory: int
    exemplars: str
    unlabeled: str | Origin
    neighbours: int
    max_unlabeled: int | None
    temperature: float


class CIL(Strategy):
    """Rehearsal in balance, and distillation on unlabeled images.

    With k seen tasks before, T the temperature and means over batches, the loss is
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
        max_unlabeled: images of U; null for no limit but the source's.
        temperature: T, above 0.

    Raises:
        ValueError: a value out of range.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import CIL, MultiHead, TwoBranchNetwork, convnet
    >>> body = partial(convnet, (1, 8, 8), [4, 8], [2, 2])
    >>> network = TwoBranchNetwork(body, MultiHead)
    >>> method = CIL(network, partial(SGD, lr=0.1), batch_size=64, memory=20)
    >>> method.method
    {'unlabeled': 'none', 'selected': {}}
    """

    divides: ClassVar[bool] = True
    not_loaded: ClassVar[dict[str, str]] = {"unlabeled": "none"}
    acts_with: ClassVar[dict[str, str]] = {
        "neighbours": "unlabeled!=none|exemplars",
        "max_unlabeled": "unlabeled!=none|exemplars",
        "temperature": "unlabeled!=none",
        "memory": "exemplars=random|herding",
    }

    refuses: Mapping[str, str] = {
        **Strategy.refuses,
        "blurry": "its batches are made of the images of one task and of exemplars",
        "online": "new images are in two parts of its batches",
        "shared_classes": "tells the classes of all tasks apart",
    }

    network: TwoBranchNetwork

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
        max_unlabeled: int | None = None,
        temperature: float = 2.0,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        self.batch_size = batch_size
        self.choice, self.kept = ExemplarChoice(exemplars, memory), Exemplars()
        self.taught = LotteryTeaching(unlabeled, neighbours, max_unlabeled, temperature)
        self._met: dict[int, Task] = {}
        self._tasks: list[int] = []  # whose classes are told apart
        self._earlier: list[int] = []
        self.method |= {"unlabeled": self.taught.name, "selected": {}}

    def check(self, tasks: Sequence[Task]) -> None:
        least = self.batch_size // 4 // len(tasks)
        if len(tasks) > 1 and not least:
            raise ValueError(
                f"batch_size={self.batch_size}: the last of {len(tasks)} tasks has no new images "
                f"in a batch; give {4 * len(tasks)} or more"
            )
        self.choice.check(tasks)
        self.taught.check(tasks)

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        self._met[visit.task.index] = visit.task
        self.kept.begin_task(visit)
        self._set_current(visit, list(self.classes))

    def _set_current(self, visit: Visit, tasks: list[int]) -> None:
        """Makes `task` the one that is learned, of the `tasks` met until then."""
        self._tasks, self._earlier = tasks, [index for index in tasks if index != visit.task.index]
        self.taught.forget_views()

    def candidate_tasks(self) -> list[int]:
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

    def kept_images(self) -> Iterable[Images]:
        """The validation images of the tasks met, and U where it is no exemplars."""
        yield from (task.val for task in self._met.values())
        yield from self.taught.images()

    @property
    def teacher(self) -> dict[str, Any]:
        """What is taught while a task is learned; empty for nothing."""
        return self.taught.now

    def training_loss(self, batch: Batch, **feeds: Batch) -> Tensor:
        network, tasks = self.network, self._tasks
        features = network.body(batch.x)
        loss = self._cross_entropy(network.auxiliary_scores(features, tasks), batch)
        if not self._earlier:
            return loss + self._cross_entropy(network.main_scores(features, tasks), batch)
        balanced = batch.x.new_zeros(())
        for name, count in zip(("new", "old"), self._shares(), strict=True):
            scores = network.main_scores(network.body(feeds[name].x), tasks)
            balanced = balanced + count / (self.batch_size // 4) * self._cross_entropy(
                scores, feeds[name]
            )
        if "taught" in feeds:
            auxiliary, main = self.taught.losses(network, self.teacher, feeds["taught"])
            loss, balanced = loss + auxiliary, balanced + main
        return loss + balanced / 2

    def _cross_entropy(self, scores: Sequence[Tensor], batch: Batch) -> Tensor:
        """Cross-entropy over the classes of all seen tasks, which `scores` are for."""
        return F.cross_entropy(torch.cat(list(scores), 1), self.place_of(batch, self._tasks))

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
            rows = self.choice.rows(visit.task, lambda images: features_of(self.network, images))
            self.kept.keep(visit.task, rows)
        note = self.taught.prepare(visit, self._tasks, self.kept.images(self._tasks), self.network)
        if note:
            self.tell(note)
        if self.taught.now:
            self.method["selected"][str(visit.number)] = len(self.taught.now["rows"])
        self.train()
