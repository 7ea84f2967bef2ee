"""The base of all methods, which is fine-tuning: train on each task in turn.

A method overrides what it changes of `begin_task`, `rounds`, `training_loss` and `end_task`, and
calls `super()`. What must survive a kill is a parameter, a buffer, or an entry of `self.method`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lifelong.data import Batch, Feed, Images, Task, Visit
from lifelong.networks import TaskNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.optim.task_optimizer import (
    TaskOptimizer,
)
from lifelong.strategies.learner import Learner, MakeOptimizer


@dataclass(frozen=True)
class Round:
    """One training of the network within a task, with an optimizer of its own.

    Attributes:
        name: shown while it runs.
        epochs: passes over the data; None for the protocol's number.
        train: other training images than the task's, or what makes them just before the training;
            then state that a checkpoint holds is there again.
        val: likewise, other validation images.
        batch_size: another size of the training batches.
        feeds: images that come beside each training batch, by the names that `training_loss` takes.
        lr_scale: a constant factor on the learning rate; the schedule then stands still.
        restore_best: whether `restore_best` holds for this round; else the last epoch is kept.
        score_on: images on which the trained network is evaluated; `score` of the metrics is the
            accuracy on them.

    >>> Round("fine", epochs=3, lr_scale=0.1, restore_best=False).name
    'fine'
    """

    name: str = "train"
    epochs: int | None = None
    train: Images | Callable[[], Images] | None = None
    val: Images | Callable[[], Images] | None = None
    batch_size: int | None = None
    feeds: Mapping[str, Feed] = field(default_factory=dict)
    lr_scale: float | None = None
    restore_best: bool = True
    score_on: Images | None = None


if TYPE_CHECKING:
    from lifelong.drawing import Drawings, Results


Rounds = Generator[Round, dict[str, float], None]


class Strategy(Learner):
    """Fine-tuning, and what every method has in common.

    Args:
        network: learns the tasks.
        optimizer: makes an optimizer of parameters; a fresh one serves each round.
        schedule: factor on the learning rate by the epochs that it has gone through, in all tasks.

    Attributes:
        current: index of the task that is learned.
        visit: number of the visit.
        trained_tasks: indices of the tasks of its images; several where boundaries are blurred.
        serves_others: whether the current round has other images than the visit's.
        best: accuracy on the validation images, epoch and tensors of the best epoch of the last
            round; a method that goes back to an earlier round puts back that one's.
        notes: for the person who watches, see `tell`.
        modifies_earlier_tasks: whether `end_task` changes earlier tasks; accuracy is then also
            measured before.
        learns_at_the_end: whether `end_task` learns, so that a visit without rounds counts.
        searches_architecture: whether the method decides between configurations of a network.
        needs_validation: whether the method cannot do without validation images.
        trains_on_validation: whether it learns from validation images.
        steps_own_heads: whether steps on images of some tasks move no heads of others; then the
            optimizer passes over these. It holds for a class that says so, not for those below it.
        answers_with_body: whether the body as it is gives the features of answers.
        refuses: for each of `accumulate_grad_batches`, `optimizer_lifetime` (of the
            stream), `float16` (scaled gradients), `half_precision` (of weights), `blurry`,
            `online`, `shared_classes` that the method cannot do, the reason.

    >>> import torch
    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import MultiHead, Network, Strategy, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> class Halved(Strategy):
    ...     def training_loss(self, batch):
    ...         return super().training_loss(batch) / 2
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> visit = stream.visits[0]
    >>> method = Halved(network, partial(SGD, lr=0.1))
    >>> method.begin_task(visit)
    >>> method.training_loss(visit.train[torch.arange(32)]).shape
    torch.Size([])
    """

    modifies_earlier_tasks: bool = False
    learns_at_the_end: ClassVar[bool] = False
    searches_architecture: ClassVar[bool] = False
    needs_validation: bool = False
    trains_on_validation: bool = False
    steps_own_heads: ClassVar[bool] = True
    answers_with_body: ClassVar[bool] = True
    capturable: ClassVar[bool] = True
    divides: ClassVar[bool] = True
    refuses: Mapping[str, str] = {
        "accumulate_grad_batches": "methods act on every batch; give a larger batch_size instead",
    }

    def __init__(
        self, network: TaskNetwork, optimizer: MakeOptimizer, schedule: Schedule = constant
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if network.num_candidates > 1 and not self.searches_architecture:
            raise ValueError(
                f"transfer: gives {network.num_candidates} configurations to choose from, and "
                f"{type(self).__name__} does not choose; use strategy=lasem_hps or one pattern"
            )
        self.current = -1
        self.visit = 0
        self.trained_tasks: set[int] = set()
        self.serves_others = False
        self.best: dict[str, Any] | None = None
        self.notes: list[str] = []

    def check(self, tasks: Sequence[Task]) -> None:
        """Refuses tasks that the method cannot learn, before anything is written.

        Raises:
            ValueError: the option, its value and what would do.
        """

    def begin_task(self, visit: Visit) -> None:
        """Prepares for a task; also replayed for earlier tasks before a checkpoint is loaded."""
        self.began, self.current = self.scheduled, visit.task.index
        self.visit, self.trained_tasks = visit.number, {task.index for task in visit.tasks}
        for task in (*visit.others, visit.task):
            self.classes[task.index] = task.classes
            self.network.add_task(task.index, task.classes)

    def idle_parameters(self) -> list[nn.Parameter]:
        if not vars(type(self)).get("steps_own_heads") or self.serves_others:
            return []
        others = [task for task in self.classes if task not in self.trained_tasks]
        return [p for task in others for p in self.network.own_parameters(task)]

    def rounds(self, visit: Visit) -> Rounds:
        """The trainings of a task: `metrics = yield Round(...)` runs one and hands its metrics.

        A resumed run replays the generator with the metrics of the finished rounds, on a network
        that is not that of then; the state comes back when a round goes on. So decisions are to
        follow from metrics alone. What is added to `metrics` is saved with them.
        """
        yield Round()

    def training_loss(self, batch: Batch, *_: Any, **feeds: Any) -> Tensor:
        """The loss of a training batch, a scalar.

        Here: mean cross-entropy, and the regularisers of the network.

        Args:
            batch: of the round's training images.
            **feeds: a `Batch` of each of the round's feeds, by name: a method that asks for none
                overrides `training_loss(self, batch)`, one that asks for images called `old`
                `training_loss(self, batch, old)`.
        """
        return F.cross_entropy(self(batch.x, batch.t), batch.y) + self.penalty(batch.t)

    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        """Closes a task; `loader` passes once over its training images."""

    def close_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        """`end_task`, and an optimizer that remembers tasks is told that this one is over."""
        self.end_task(visit, loader)
        if isinstance(self._optimizer, TaskOptimizer):
            for name, value in self._optimizer.report().items():
                self.method.setdefault(name, {})[str(visit.number)] = value
            self._optimizer.end_task()

    def auxiliary_networks(self) -> Iterator[str]:
        """Other networks that are measured after a task: puts each in place and gives its name.

        When it is through, the own network is back.
        """
        yield from ()

    def kept_images(self) -> Iterable[Images] | None:
        """Images kept from task to task beside memories, for the bytes that a run tells.

        None: what attributes hold, of tasks training and validation images.
        """
        return None

    @staticmethod
    def drawings(results: Results) -> Drawings:
        """Figures of what the method reports, made from the content of results.json."""
        return {}

    def tell(self, note: str) -> None:
        """Has a line said when the task is through; what matters for results goes to `method`."""
        self.notes.append(note)

    def penalty(self, t: Tensor) -> Tensor | float:
        """The network's regularisers for the tasks of a batch."""
        tasks = t.unique().tolist() if bool((t != t[0]).any()) else [int(t[0])]
        return sum((self.network.penalty(task) for task in tasks), 0.0)
