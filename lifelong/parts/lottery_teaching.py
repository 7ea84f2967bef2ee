"""Lottery teaching: unlabeled images near the exemplars, and what a network answered on them.

Chen et al., "Long Live the Lottery: The Existence of Winning Tickets in Lifelong Learning", ICLR
2021. The images are chosen, and shown under transforms drawn once for all, when a task ends; while
the next one is learned, both branches are to answer for the old classes as the network did then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Generator, Tensor, nn

from lifelong.data import Batch, Images, Task, Visit, unlabeled
from lifelong.data.task import MANY, NO_ROWS
from lifelong.data.unlabeled import Origin
from lifelong.networks import Network, TwoBranchNetwork
from lifelong.parts.distillation import distillation
from lifelong.parts.neighbours import nearest_without_replacement

BRANCHES = ("auxiliary", "main")


class LotteryTeaching(nn.Module):
    """U: which images, under which transforms, and the scores of the network before the task.

    Args:
        origin: `exemplars` (U are these themselves), `none`, or see `lifelong.data.unlabeled`.
        neighbours: images that an exemplar takes, nearest first, each image once.
        max_unlabeled: images of U; None for no limit but the source's.
        temperature: T, above 0.

    Raises:
        ValueError: a value out of range.

    Attributes:
        now: for the task that is learned: rows of the pool, seed of the transforms, tasks, scores
            (m, k) of each branch, checksum; empty for nothing.
        before: the same while the last finished task was learned.
        used: class numbers of the whole stream.
    """

    def __init__(
        self, origin: str | Origin, neighbours: int, max_unlabeled: int | None, temperature: float
    ) -> None:
        super().__init__()
        for name, value in (("neighbours", neighbours), ("max_unlabeled", max_unlabeled)):
            if value is not None and value < 1:
                raise ValueError(f"strategy.{name}={value}: give 1 or more")
        if temperature <= 0:
            raise ValueError(f"strategy.temperature={temperature}: give a number above 0")
        self.origin, self.neighbours, self.max_unlabeled = origin, neighbours, max_unlabeled
        self.temperature = temperature
        self.now: dict[str, Any] = {}
        self.before: dict[str, Any] = {}
        self.used: Collection[int] = ()
        self._views: Images | None = None

    @property
    def name(self) -> str:
        """For results."""
        return str(getattr(self.origin, "name", self.origin))

    def check(self, tasks: Sequence[Task]) -> None:
        """Notes the classes of the stream, which U is not to show.

        Raises:
            ValueError: there are no images to choose from.
        """
        self.used = {number for task in tasks for number in task.classes}
        if self.origin not in ("none", "exemplars") and not len(self.pool(tasks[0])):
            raise ValueError(
                f"unlabeled={self.name}: has no images; give others, or unlabeled=none"
            )

    def pool(self, task: Task) -> Images:
        """The images that U is chosen from, brought to the shape of the task's.

        Raises:
            ValueError: there are none.
        """
        try:
            return unlabeled(self.origin, task.train, self.used)
        except ValueError as error:
            raise ValueError(f"strategy.unlabeled: {error}") from None

    @torch.no_grad()
    def prepare(
        self, visit: Visit, tasks: Sequence[int], anchors: Images, network: TwoBranchNetwork
    ) -> str | None:
        """Chooses U for the next task, draws its views, and keeps what the network answers.

        Gives what a person should know, if anything. After the last visit there is nothing to do.

        Args:
            visit: that ends.
            tasks: whose classes are answered for.
            anchors: the exemplars.
            network: in evaluation mode.
        """
        self.before, self.now = self.now, {}
        if self.origin == "none" or visit.is_last:
            return None
        note, own = None, self.origin == "exemplars"
        pool = anchors if own else self.pool(visit.task)
        rows = torch.arange(len(pool))
        if not own:
            near = features_of(network, anchors), features_of(network, pool)
            rows = nearest_without_replacement(*near, self.neighbours, self.max_unlabeled).cpu()
            asked = min(self.neighbours * len(anchors), self.max_unlabeled or math.inf)
            if len(rows) < asked:
                note = (
                    f"visit {visit.number}: unlabeled={self.name} has {len(pool)} images; "
                    f"{len(rows)} are taken, where {asked} were asked for"
                )
        seed = int(torch.randint(2**62, ()))
        self.now = {"rows": rows, "seed": seed, "tasks": list(tasks), "task": visit.task.index}
        self._views = _viewed(pool, self.now)
        self.now["checksum"] = self._views.checksum()
        parts: dict[str, list[Tensor]] = {branch: [] for branch in BRANCHES}
        for some in self._views.portions() or [NO_ROWS]:
            features = network.body(self._views[some].x)
            for branch in BRANCHES:
                scores = getattr(network, f"{branch}_scores")(features, tasks)
                parts[branch].append(torch.cat(scores, 1).cpu())
        self.now |= {branch: torch.cat(scores) for branch, scores in parts.items()}
        return note

    def views(
        self, taught: dict[str, Any], task: Task, exemplars: Callable[[Sequence[int]], Images]
    ) -> Images:
        """The images of U: frozen, the same in all epochs, and found again after a stop.

        Args:
            taught: `now` or `before`.
            task: the one that `taught` names.
            exemplars: of tasks.

        Raises:
            ValueError: the pool is not what it was.
        """
        if self._views is None:
            own = self.origin == "exemplars"
            self._views = _viewed(exemplars(taught["tasks"]) if own else self.pool(task), taught)
            if self._views.checksum() != taught["checksum"]:
                raise ValueError(
                    f"strategy.unlabeled={self.name}: is not what it was when images were chosen "
                    "from it; bring it back, or begin the run anew"
                )
        return self._views

    def images(self) -> list[Images]:
        """U, as it is served, if it is no exemplars: kept for the next task."""
        return [] if self._views is None or self.origin == "exemplars" else [self._views]

    @property
    def nbytes(self) -> int:
        """Of the scores and the rows of U."""
        held = [*self.now.values(), *self.before.values()]
        return sum(value.nbytes for value in held if isinstance(value, Tensor))

    def forget_views(self) -> None:
        """They are made anew, such as for another task."""
        self._views = None

    def losses(
        self, network: TwoBranchNetwork, taught: dict[str, Any], batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """T^2 times `distillation` of the auxiliary and the main branch on some of U.

        Args:
            network: that learns.
            taught: `now` or `before`.
            batch: of U; its rows count from 0.
        """
        features, tasks = network.body(batch.x), taught["tasks"]
        scores = network.auxiliary_scores(features, tasks), network.main_scores(features, tasks)
        wanted = (taught[branch][batch.row].to(batch.x.device) for branch in BRANCHES)
        auxiliary, main = (
            self.temperature**2 * distillation(torch.cat(own, 1), those, self.temperature)
            for own, those in zip(scores, wanted, strict=True)
        )
        return auxiliary, main

    def get_extra_state(self) -> dict[str, Any]:
        return {"now": self.now, "before": self.before, "used": sorted(self.used)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.now, self.before, self.used = state["now"], state["before"], set(state["used"])
        self.forget_views()


def _viewed(pool: Images, taught: dict[str, Any]) -> Images:
    """The chosen images of the pool, each under its fixed transform; rows count from 0."""
    views = pool.part(taught["rows"])
    views.row, augment, views.transform = torch.arange(len(views)), pool.augment, None
    if augment is not None:
        generator = Generator().manual_seed(taught["seed"])
        parts = views.x.split(MANY)  # on every device, as draws go by them
        views.x = torch.cat([augment(x.float(), generator).to(x.dtype) for x in parts])
    return views


def features_of(network: TwoBranchNetwork | Network, images: Images) -> Tensor:
    """(n, f), without augmentation."""
    parts = images.portions() or [NO_ROWS]
    return torch.cat([network.body(images[rows].x) for rows in parts])
