"""The base of all methods, which is fine-tuning: train on each task in turn.

A method overrides what it changes of `begin_task`, `rounds`, `training_loss` and `end_task`, and
calls `super()`. What must survive a kill is a parameter, a buffer, or an entry of `self.method`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader

from lifelong.data import Batch, Fed, Feed, Images, Task, Visit
from lifelong.measures import Prediction, Tally
from lifelong.measures.prediction import NO_CLASS
from lifelong.measures.tally import MakeMeasure
from lifelong.networks import TaskNetwork, by_task
from lifelong.optim.schedules import Schedule, constant
from lifelong.optim.several import Several
from lifelong.optim.task_optimizer import (
    Groups,
    TaskOptimizer,
    extend,
    grouped,
    load_by_name,
    state_by_name,
)


class Diverged(ArithmeticError):
    """Training went wrong beyond repair."""


MakeOptimizer = Callable[[Iterable[Tensor] | Iterable[dict[str, Any]]], Optimizer]
Lifetime = Literal["epoch", "task", "stream"]
Way = Literal["task", "class"]  # of asking: with the task given, or without


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
        rate: a constant factor on the learning rate, in place of the schedule, which stands still.
        restores: whether `restore_best` holds for this round; else its last epoch is carried on.
        judged: images on which the trained network is asked; `judged` of the metrics is the share
            of right answers.
    """

    name: str = "train"
    epochs: int | None = None
    train: Images | Callable[[], Images] | None = None
    val: Images | Callable[[], Images] | None = None
    batch_size: int | None = None
    feeds: Mapping[str, Feed] = field(default_factory=dict)
    rate: float | None = None
    restores: bool = True
    judged: Images | None = None


Rounds = Generator[Round, dict[str, float], None]


class Strategy(LightningModule):
    """Fine-tuning, and what every method has in common.

    Args:
        network: learns the tasks.
        optimizer: makes an optimizer of parameters; a fresh one serves each round.
        schedule: factor on the learning rate by the epochs that it has gone through, in all tasks.

    Attributes:
        method: what the method reports (numbers, texts, lists, dicts); saved with the results.
        rolls_back: whether `end_task` changes earlier tasks; accuracy is then also measured before.
        chooses: whether the method decides between several configurations of a network.
        needs_validation: whether the method cannot do without validation images.
        best: accuracy on the validation images, epoch and tensors of the best epoch of the last
            round; a method that goes back to an earlier round puts back that one's.
        groups: options of the optimizer for parameters that have a word in their names; `rule`
            among them is another optimizer's name, see `Several`.
        lifetime: how long an optimizer's state lasts: an `epoch`, a `task` (each round begins
            anew), or the `stream`.
        trains_on_validation: whether it learns from validation images.
        ways: how answers are measured: with the `task` given, without it (`class`), or both, first
            the one by which the run decides; the other one in tests alone.
        refuses: for each of `devices`, `accumulate_grad_batches`, `optimizer_lifetime` (of the
            stream), `float16` (scaled gradients), `half_precision` (of weights), `blurry`,
            `online`, `shared_classes` that the method cannot do, the reason.
    """

    rolls_back: bool = False
    chooses: ClassVar[bool] = False
    needs_validation: bool = False
    trains_on_validation: bool = False
    refuses: Mapping[str, str] = {
        "devices": "batches are cut on one device; run several seeds side by side instead",
        "accumulate_grad_batches": "methods act on every batch; give a larger batch_size instead",
    }

    def __init__(
        self, network: TaskNetwork, optimizer: MakeOptimizer, schedule: Schedule = constant
    ) -> None:
        super().__init__()
        if network.choices > 1 and not self.chooses:
            raise ValueError(
                f"transfer: gives {network.choices} configurations to choose from, and "
                f"{type(self).__name__} does not choose; use strategy=lasem_hps or one pattern"
            )
        self.network = network
        self.make_optimizer = optimizer
        self.schedule = schedule
        self.method: dict[str, Any] = {}
        self.epochs_trained = 0  # since the begin of the stream
        self.steps_trained = 0  # likewise
        self.scheduled = 0  # of them those that the schedule has gone through
        self.began = 0  # so many of these when the current task began
        self.rate: float | None = None  # see `Round`
        self.notes: list[str] = []  # for the person who watches, see `tell`
        self.classes: dict[int, tuple[int, ...]] = {}  # class numbers of the tasks met so far
        self.current = -1  # index of the task that is learned
        self.visit = 0  # number of the visit
        self._compiled = False
        self._table: tuple[dict[int, tuple[int, ...]], Tensor] | None = None  # see `_columns`
        self.ways: tuple[Way, ...] = ("task",)
        self.measures: dict[str, MakeMeasure] = {}  # beside accuracy
        self.best: dict[str, Any] | None = None
        self.groups: Groups = {}
        self.lifetime: Lifetime = "task"
        self._optimizer: Optimizer | None = None
        self._goes_on = False  # whether it is that of a checkpoint inside a round
        self._loss = torch.zeros(())

    # What a method overrides.

    def check(self, tasks: Sequence[Task]) -> None:
        """Refuses tasks that the method cannot learn, before anything is written.

        Raises:
            ValueError: the option, its value and what would do.
        """

    def begin_task(self, visit: Visit) -> None:
        """Prepares for a task; also replayed for earlier tasks before a checkpoint is loaded."""
        self.began, self.current = self.scheduled, visit.task.index
        self.visit = visit.number
        for task in (*visit.others, visit.task):
            self.classes[task.index] = task.classes
            self.network.add_task(task.index, task.classes)

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
        if isinstance(self._optimizer, TaskOptimizer):
            for name, value in self._optimizer.report().items():
                self.method.setdefault(name, {})[str(visit.number)] = value
            self._optimizer.end_task()

    def before_answers(self) -> None:
        """Called before the network is asked, whenever that is."""

    def beside(self) -> Iterator[str]:
        """Other networks that are measured after a task: puts each in place and gives its name.

        When it is through, the own network is back.
        """
        yield from ()

    # What is written once, for all methods.

    def tell(self, note: str) -> None:
        """Has a line said when the task is through; what matters for results goes to `method`."""
        self.notes.append(note)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Class scores (b, k) of images x (b, c, h, w) of the tasks t (b,)."""
        scores: Tensor = self.network(x, t)
        return scores

    def penalty(self, t: Tensor) -> Tensor | float:
        """The network's regularisers for the tasks of a batch."""
        tasks = t.unique().tolist() if bool((t != t[0]).any()) else [int(t[0])]
        return sum((self.network.penalty(task) for task in tasks), 0.0)

    def on_train_epoch_start(self) -> None:
        self._loss = torch.zeros((), device=self.device)
        if isinstance(self._optimizer, TaskOptimizer):
            self._optimizer.begin_epoch()
        if self._optimizer is not None and self.lifetime == "epoch":
            self._optimizer.state.clear()

    def training_step(self, batch: Batch | Fed, batch_idx: int) -> Tensor:
        whole = batch if isinstance(batch, Fed) else Fed(batch, {})
        loss = self.training_loss(whole.batch, **whole.feeds)
        self._loss += loss.detach()
        self.steps_trained += 1
        return loss

    def on_train_epoch_end(self) -> None:
        self.epochs_trained += 1
        self.scheduled += self.rate is None
        loss = float(self._loss) / self.trainer.num_training_batches
        if not math.isfinite(loss):
            raise Diverged(f"the training loss became {loss}; {self.advice()}")
        self.log("train/loss", loss)

    def advice(self) -> str:
        """What to try when the loss is no longer finite."""
        return "try a smaller lr"

    def predict(self, x: Tensor, t: Tensor | None = None) -> Prediction:
        """What the network answers to images.

        Args:
            x: (b, c, h, w).
            t: their tasks (b,), on the CPU: answers are among the classes of the task. None: among
                those of all tasks `answered`.
        """
        if t is not None:
            return self._given(self(x, t), t)
        tasks = self.answered()
        return self._among(self.network.all_logits(x, tasks), tasks)

    def answered(self) -> list[int]:
        """The tasks whose classes are told apart without the task given: all met so far."""
        return list(self.classes)

    def tells_apart(self) -> bool:
        """Whether the network can answer without the task given."""
        return self.network.tells_apart(self.classes.values())

    def predictions(self, batch: Batch, ways: Sequence[Way]) -> list[Prediction]:
        """The answers to a batch in some ways; in one pass where the network has one body."""
        tasks = self.answered()
        plain = type(self).predict is Strategy.predict and type(self).forward is Strategy.forward
        known = set(batch.t.tolist()) <= set(tasks)
        if len(ways) > 1 and plain and known and self.network.one_pass:
            scores = self.network.all_logits(batch.x, tasks)

            def own(rows: Tensor | None, task: int) -> Tensor:
                found = scores[tasks.index(task)]
                return found if rows is None else found[rows.to(found.device)]

            both = {
                "task": self._given(by_task(own, batch.t), batch.t),
                "class": self._among(scores, tasks),
            }
            return [both[way] for way in ways]
        return [self.predict(batch.x, batch.t if way == "task" else None) for way in ways]

    def _given(self, scores: Tensor, t: Tensor) -> Prediction:
        columns = self._columns(t).to(scores.device)[:, : scores.shape[1]]
        scores = scores[:, : columns.shape[1]]
        if bool((t != t[0]).any()):
            scores = scores.masked_fill(columns < 0, -torch.inf)
        else:
            width = len(self.classes[int(t[0])])
            scores, columns = scores[:, :width], columns[:, :width]
        return Prediction(scores, columns)

    def _among(self, scores: Sequence[Tensor], tasks: Sequence[int]) -> Prediction:
        classes = [self.classes[task] for task in tasks]
        return Prediction.among(scores, classes, self.network.common)

    @contextmanager
    def looking_ahead(self, tasks: Mapping[int, Task]) -> Iterator[None]:
        """Within, the network has what tasks to come need, too: as they will begin, untrained.

        Args:
            tasks: by the seed of the new weights of each.
        """
        network, classes = self.network, self.classes
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            self.network, self.classes = copy.deepcopy(network), dict(classes)
            for seed, task in tasks.items():
                torch.manual_seed(seed)
                self.classes[task.index] = task.classes
                self.network.add_task(task.index, task.classes)
        self.network.to(self.device)
        try:
            yield
        finally:
            self.network, self.classes = network, classes

    def class_of(self, batch: Batch) -> Tensor:
        """Class numbers (b,) of the labels of a batch."""
        return self._columns(batch.t).to(batch.y.device).gather(1, batch.y[:, None])[:, 0]

    def place_of(self, batch: Batch, tasks: Iterable[int]) -> Tensor:
        """Columns (b,) of the labels of a batch in the joined scores of some tasks' classes."""
        first, begins = 0, torch.zeros(max(self.classes) + 1, dtype=torch.long)
        for task in tasks:
            begins[task], first = first, first + len(self.classes[task])
        return begins[batch.t].to(batch.y.device) + batch.y

    def _columns(self, t: Tensor) -> Tensor:
        """Class numbers of the labels of the tasks `t` (b,), -1 beyond them, (b, k)."""
        if self._table is None or len(self._table[0]) != len(self.classes):
            width = max(len(classes) for classes in self.classes.values())
            table = torch.full((max(self.classes) + 1, width), NO_CLASS)
            for task, classes in self.classes.items():
                table[task, : len(classes)] = torch.tensor(classes)
            self._table = dict(self.classes), table
        return self._table[1][t]

    def on_validation_epoch_start(self) -> None:
        self.tallies = {way: Tally() for way in self.ways[:1]}
        self.before_answers()

    def on_test_epoch_start(self) -> None:
        self.tallies = {way: Tally(self.measures) for way in self.ways}
        self.before_answers()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.measure(batch, self.tallies)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.measure(batch, self.tallies)

    def measure(self, batch: Batch, tallies: Mapping[Way, Tally]) -> None:
        """Takes the answers to a batch into tallies, by the ways in which it is asked."""
        target = self.class_of(batch)
        with self.eagerly():
            found = self.predictions(batch, list(tallies))
        for tally, prediction in zip(tallies.values(), found, strict=True):
            tally.update(prediction, target, batch.t)

    @property
    def accuracy(self) -> float:
        """Share of right answers of the last validation or test, over all images."""
        return self.tallies[self.ways[0]].mean()

    def on_validation_epoch_end(self) -> None:
        self.log("val/accuracy", torch.tensor(self.accuracy))

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Batch | Fed:
        """Moves pixels and labels; tasks and rows stay on the CPU."""
        if isinstance(batch, Fed):
            parts = {name: self._moved(part, device) for name, part in batch.feeds.items()}
            return Fed(self._moved(batch.batch, device), parts)
        return self._moved(batch, device)

    @staticmethod
    def _moved(batch: Batch, device: torch.device) -> Batch:
        return batch._replace(x=batch.x.to(device), y=batch.y.to(device))

    def configure_optimizers(self) -> Any:
        trained = {name: p for name, p in self.named_parameters() if p.requires_grad}
        if self._optimizer is None or (self.lifetime != "stream" and not self._goes_on):
            self._optimizer = self._made(trained)
        else:
            extend(self._optimizer, trained, self.groups)
        self._goes_on = False
        for group in self._optimizer.param_groups:  # the schedule counts from the stream's begin
            group["lr"] = group.get("initial_lr", group["lr"])
        first = self.scheduled
        rate = self.rate
        scheduler = LambdaLR(
            self._optimizer, lambda epoch: self.schedule(first + epoch) if rate is None else rate
        )
        return {"optimizer": self._optimizer, "lr_scheduler": scheduler}

    def _made(self, named: Mapping[str, nn.Parameter]) -> Optimizer:
        """A new optimizer of some parameters."""
        if not self.groups:
            return self.make_optimizer(list(named.values()))
        groups = grouped(named, self.groups)
        if any("rule" in options for options in self.groups.values()):
            return Several(groups, self.make_optimizer)
        return self.make_optimizer(groups)

    def rate_of(self, p: nn.Parameter) -> float:
        """The learning rate of a parameter that is trained, as it is now."""
        assert self._optimizer is not None
        first, *others = self._optimizer.param_groups
        own = next((group for group in others if any(p is each for each in group["params"])), first)
        return float(own["lr"])

    def compile_body(self, backend: str) -> None:
        """Has the body compiled for training steps; all else goes on uncompiled."""
        body = self.network.body
        assert isinstance(body, nn.Module)
        body.compile(backend=backend)
        self._compiled = True

    def eagerly(self) -> AbstractContextManager[Any]:
        """Within, nothing that is compiled is used."""
        return torch.compiler.set_stance("force_eager") if self._compiled else nullcontext()

    def optimizer_state(self) -> dict[str, Any]:
        """The optimizer's state by parameter name."""
        if self._optimizer is None:
            return {}
        return state_by_name(self._optimizer, dict(self.named_parameters()))

    def take_optimizer(self, states: dict[str, Any] | None) -> None:
        """Goes on with the optimizer of a checkpoint, see `optimizer_state`.

        It has the parameters of then in their order, those that are frozen now among them: tasks
        that end count for their state, too.
        """
        named = dict(self.named_parameters())
        known = {name: named[name] for name in states or {} if name in named}
        if states and known:
            self._optimizer = self._made(known)
            load_by_name(self._optimizer, known, states)
            self._goes_on = True

    @property
    def grown(self) -> tuple[str, ...]:
        """See `TaskOptimizer.grown`."""
        return self._optimizer.grown if isinstance(self._optimizer, TaskOptimizer) else ()

    def get_extra_state(self) -> dict[str, Any]:
        return {
            "epochs_trained": self.epochs_trained,
            "steps_trained": self.steps_trained,
            "scheduled": self.scheduled,
            "began": self.began,
            "method": self.method,
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        for name in ("epochs_trained", "steps_trained", "scheduled", "began", "method"):
            setattr(self, name, state[name])
