"""iCaRL: exemplars by herding, distillation, and the class whose exemplars are nearest.

Rebuffi, Kolesnikov, Sperl, Lampert, "iCaRL: Incremental Classifier and Representation Learning",
CVPR 2017, algorithms 1 to 5.

Departure from the official implementation: means are over the exemplars as in tests, without their
mirror images.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from lifelong.data import Batch, Images, Task, Visit
from lifelong.measures import Prediction
from lifelong.networks import IncrementalHead, Network
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.exemplars import ExemplarChoice
from lifelong.parts.lottery_teaching import features_of
from lifelong.parts.memory import Exemplars
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Round, Rounds, Strategy


class ICaRL(Strategy):
    """A sigmoid for each class; old ones are to answer as before, to new images and exemplars.

    Args:
        network: with one head for all classes (`heads=incremental`).
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        memory: K, exemplars of all classes together.

    While a task is trained (validation, tests inside a visit) the sigmoids answer.

    Raises:
        ValueError: a network with other heads, no memory.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import ICaRL, IncrementalHead, Network, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), IncrementalHead)
    >>> ICaRL(network, partial(SGD, lr=0.1), memory=100).method
    {'memory': 100}
    """

    divides: ClassVar[bool] = True
    steps_own_heads: ClassVar[bool] = False
    learns_at_the_end: ClassVar[bool] = True
    refuses: Mapping[str, str] = {
        **Strategy.refuses,
        "blurry": "its exemplars are of the classes of one task",
        "online": "its batches hold exemplars beside the images of the task",
        "shared_classes": "keeps exemplars of a class with the task that has it",
    }
    network: Network

    def __init__(
        self,
        network: Network,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        memory: int = 2000,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if not isinstance(network.heads, IncrementalHead):
            raise ValueError(
                "strategy=icarl: has one output for each class; give heads=incremental"
            )
        if memory < 1:
            raise ValueError(f"strategy.memory={memory}: give a number of images, 1 or more")
        self.size, self.kept = memory, Exemplars()
        self.method |= {"memory": memory}
        self.teacher: Network | None = None  # the network before the task
        self.means = torch.zeros(0, network.body.features)  # of normalised features, (c, f)
        self.numbers: list[int] = []  # their class numbers
        self.learning = True  # a task: then the sigmoids answer, as means are of the task before
        self._val: dict[int, Images] = {}  # of the seen tasks

    def check(self, tasks: Sequence[Task]) -> None:
        classes = {number for task in tasks for number in task.classes}
        if self.size < len(classes):
            raise ValueError(
                f"strategy.memory={self.size}: the stream has {len(classes)} classes, and an "
                "exemplar of each is needed; give that many or more"
            )

    def begin_task(self, visit: Visit) -> None:
        if self.classes:
            self.teacher = copy.deepcopy(self.network).requires_grad_(False).eval()
        super().begin_task(visit)
        self.kept.begin_task(visit)
        self._val[visit.task.index] = visit.task.val
        self.learning = True

    def rounds(self, visit: Visit) -> Rounds:
        val = Images.joined(list(self._val.values()))
        yield Round(train=lambda: self._images(visit), val=val)

    def _images(self, visit: Visit) -> Images:
        """New images and exemplars."""
        others = [task for task in self._kept_tasks() if task != visit.task.index]
        return Images.joined([visit.train, *([self.kept.images(others)] if others else [])])

    def _kept_tasks(self) -> list[int]:
        return list(dict.fromkeys(self.kept.tasks.tolist()))

    def training_loss(self, batch: Batch) -> Tensor:
        features = self.network.body(batch.x)
        scores = head_of(self.network).scores(features)  # (b, c), in the order of the classes
        known = torch.tensor(head_of(self.network).numbers, device=scores.device)
        wanted = (self.class_of(batch)[:, None] == known).to(scores)
        wanted = F.pad(wanted, (0, scores.shape[1] - wanted.shape[1]))  # of classes to come
        if self.teacher is not None:
            former = head_of(self.teacher)
            with torch.no_grad():
                old = former.scores(self.teacher.body(batch.x)).sigmoid()
            wanted[:, : len(former.numbers)] = old[:, : len(former.numbers)]
        return F.binary_cross_entropy_with_logits(scores, wanted) + self.penalty(batch.t)

    @torch.no_grad()
    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        super().end_task(visit, loader)
        self.eval()
        per_class = self.size // len(head_of(self.network).numbers)
        if visit.task.index not in self._kept_tasks():
            choice = ExemplarChoice("herding", per_class)
            rows = choice.rows(visit.task, lambda images: features_of(self.network, images))
            self.kept.shrink(per_class).keep(visit.task, rows)
        self._take_means()
        self.learning = False
        self.train()

    def _take_means(self) -> None:
        """Of the features of each class's exemplars."""
        found: dict[int, Tensor] = {}
        for task in self._kept_tasks():
            images = self.kept.images([task])
            features = F.normalize(features_of(self.network, images))
            for label, number in enumerate(self.classes[task]):
                found[number] = F.normalize(features[images.y == label].mean(0), dim=0)
        self.numbers, self.means = list(found), torch.stack(list(found.values()))

    def predict(self, x: Tensor, t: Tensor | None = None) -> Prediction:
        if self.learning:
            return super().predict(x, t)
        return self.answer_by_class(self.of_features(x, self._nearness), self.numbers, t)

    def _nearness(self, features: Tensor) -> Tensor:
        means = self.means.to(features)
        return -0.5 * torch.cdist(F.normalize(features), means).square()

    def get_extra_state(self) -> dict[str, Any]:
        own = {"means": self.means, "numbers": self.numbers, "learning": self.learning}
        return {**super().get_extra_state(), **own}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self.means, self.numbers = state["means"], list(state["numbers"])
        self.learning = state.get("learning", False)


def head_of(network: Network) -> IncrementalHead:
    """The one head for all classes."""
    return cast(IncrementalHead, network.heads)
