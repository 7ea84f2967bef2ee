"""Networks asked: predictions with the task given and without, and what is measured of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor

from lifelong.data import Batch, Fed
from lifelong.measures import Prediction, Tally
from lifelong.measures.prediction import NO_CLASS
from lifelong.measures.tally import MakeMeasure
from lifelong.networks import TaskNetwork, by_task
from lifelong.networks.divided import divided
from lifelong.strategies.quick_module import QuickModule

EvalMode = Literal["task", "class"]  # of asking: with the task given, or without


class Answering(QuickModule):
    """A network that is asked, in validation and in tests.

    Attributes:
        network: answers.
        classes: class numbers of the seen tasks, by index.
        eval_modes: how it is evaluated: with the task given (`task`), without it (`class`), or
            both: first the mode by which the run decides; the other one in tests alone.
        measures: what is asked of answers beside whether they are right.
        tallies: what the last validation or test came to, by way.
    """

    network: TaskNetwork

    def __init__(self, network: TaskNetwork) -> None:
        super().__init__()
        self.network = network
        self.classes: dict[int, tuple[int, ...]] = {}
        self.eval_modes: tuple[EvalMode, ...] = ("task",)
        self.measures: dict[str, MakeMeasure] = {}
        self.tallies: dict[EvalMode, Tally] = {}
        self._compiled = False
        self._table: tuple[dict[int, tuple[int, ...]], Tensor] | None = None  # see `_columns`

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Class scores (b, k) of images x (b, c, h, w) of the tasks t (b,)."""
        scores: Tensor = self.network(x, t)
        return scores

    def predict(self, x: Tensor, t: Tensor | None = None) -> Prediction:
        """What the network answers to images.

        Args:
            x: (b, c, h, w).
            t: their tasks (b,), on the CPU: answers are among the classes of the task. None: among
                those of all tasks `candidate_tasks`.
        """
        if t is not None:
            return self._given(self(x, t), t)
        tasks = self.candidate_tasks()
        if type(self).forward.__module__.startswith("lifelong."):
            return self._among(self.network.all_logits(x, tasks), tasks)
        given = (self(x, torch.full((len(x),), task)) for task in tasks)  # as a method answers
        widths = (len(self.classes[task]) for task in tasks)
        return self._among([s[:, :width] for s, width in zip(given, widths, strict=True)], tasks)

    def candidate_tasks(self) -> list[int]:
        """The tasks whose classes are told apart without the task given: all seen so far."""
        return list(self.classes)

    def supports_class_incremental(self) -> bool:
        """Whether the network can answer without the task given."""
        return self.network.supports_class_incremental(self.classes.values())

    def predictions(self, batch: Batch, ways: Sequence[EvalMode]) -> list[Prediction]:
        """The answers to a batch in some ways; in one pass where the network has one body."""
        tasks = self.candidate_tasks()
        plain = type(self).predict is Answering.predict and type(self).forward is Answering.forward
        known = set(batch.t.tolist()) <= set(tasks)
        if len(ways) > 1 and plain and known and self.network.one_pass:
            scores = self.network.all_logits(batch.x, tasks)

            def own(rows: Tensor, task: int) -> Tensor:
                return scores[tasks.index(task)][rows]

            rows = torch.arange(len(batch.t), device=batch.x.device)
            both = {
                "task": self._given(by_task(own, rows, batch.t), batch.t),
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

    def of_features(self, x: Tensor, scores: Callable[[Tensor], Tensor]) -> Tensor:
        """Scores that follow from features, in 32 bits or more whatever the trainer's precision.

        They may lie closer together than 8 bits can tell apart.
        """
        features = self.network.get_submodule("body")(x)
        kind = features.device.type
        on = torch.is_autocast_enabled(kind)
        with torch.autocast(kind, enabled=False) if on else nullcontext():
            return scores(features.to(torch.promote_types(features.dtype, torch.float32)))

    def answer_by_class(
        self, scores: Tensor, numbers: Sequence[int], t: Tensor | None
    ) -> Prediction:
        """The answers that scores of classes amount to, whatever tasks the classes are of.

        Args:
            scores: (b, c).
            numbers: class number of each column.
            t: tasks of the images (b,): the columns are then the classes of each; None: all.
        """
        known = torch.tensor(numbers, device=scores.device)
        if t is None:
            return Prediction(scores, known.expand(len(scores), -1))
        own = self._columns(t).to(scores.device)  # (b, k)
        there = own[:, :, None] == known  # (b, k, c)
        found = scores.gather(1, there.int().argmax(2))
        return self._given(found.masked_fill(~there.any(2), -torch.inf), t)

    def _among(self, scores: Sequence[Tensor], tasks: Sequence[int]) -> Prediction:
        classes = [self.classes[task] for task in tasks]
        return Prediction.among(scores, classes, self.network.shared_outputs)

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
        self.tallies = {way: Tally() for way in self.eval_modes[:1]}
        self.before_answers()

    def on_test_epoch_start(self) -> None:
        self.tallies = {way: Tally(self.measures) for way in self.eval_modes}
        self.before_answers()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self.measure(batch, self.tallies)

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.measure(batch, self.tallies)

    def measure(self, batch: Batch, tallies: Mapping[EvalMode, Tally]) -> None:
        """Takes the answers to a batch into tallies, by the ways in which it is asked."""
        target = self.class_of(batch)
        with self.uncompiled(), divided():
            found = self.predictions(batch, list(tallies))
        for tally, prediction in zip(tallies.values(), found, strict=True):
            tally.update(prediction, target, batch.t)

    @property
    def accuracy(self) -> float:
        """Share of right answers of the last validation or test, over all images."""
        return self.tallies[self.eval_modes[0]].mean()

    def on_validation_epoch_end(self) -> None:
        self.log("val/accuracy", torch.tensor(self.accuracy))

    def before_answers(self) -> None:
        """Called before the network is asked, whenever that is."""

    def compile_body(self, backend: str) -> None:
        """Has the body compiled for training steps; all else goes on uncompiled."""
        self.network.get_submodule("body").compile(backend=backend)
        self._compiled = True

    def uncompiled(self) -> AbstractContextManager[Any]:
        """Within, nothing that is compiled is used."""
        return torch.compiler.set_stance("force_eager") if self._compiled else nullcontext()

    def transfer_batch_to_device(
        self, batch: Any, device: torch.device, dataloader_idx: int
    ) -> Batch | Fed | list[Any]:
        """Moves pixels and labels; tasks and rows stay on the CPU."""
        if isinstance(batch, list):
            return [self.transfer_batch_to_device(one, device, dataloader_idx) for one in batch]
        if isinstance(batch, Fed):
            parts = {name: self.on_device(part, device) for name, part in batch.feeds.items()}
            return Fed(self.on_device(batch.batch, device), parts)
        return self.on_device(batch, device)

    @staticmethod
    def on_device(batch: Batch, device: torch.device) -> Batch:
        """A batch with pixels and labels on a device."""
        return batch._replace(x=batch.x.to(device), y=batch.y.to(device))
