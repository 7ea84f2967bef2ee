"""The experiment on one page: a strategy learns a stream; the only place that knows the Trainer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.loggers import Logger

from lifelong.callbacks import EpochSeeds, Logging, Saving, Validation, changing
from lifelong.checkpoint import Checkpoint
from lifelong.data import Images, Task, TaskStream
from lifelong.evaluation.accuracy import TaskAccuracy
from lifelong.evaluation.matrix import percent
from lifelong.evaluation.record import BEFORE, BESIDE, CLASS, PEAK, TEST, Record
from lifelong.seeds import derive
from lifelong.strategies import Round, Strategy
from lifelong.strategies.strategy import Rounds
from lifelong.terminal import ProgressBar, Terminal

# Where weights are of another precision than 32 bits, images that methods look at must be, too.
TRUE_PRECISIONS = {
    "64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16,
}  # fmt: skip


@dataclass
class Experiment:
    """All that a run is made of.

    Attributes:
        stream: the tasks.
        strategy: learns them.
        record: what is measured.
        make_trainer: makes a Trainer of further options; a new one serves each round, because a
            Trainer that has fitted once trains no more.
        folder: where the run's files go.
        epochs: of a round, unless the round says otherwise.
        init_seed: of new weights.
        batch_seed: of dropout and the like.
        evaluate_every: epochs between two looks at the validation images; 0 for none.
        restore_best: after a round, go back to the best of so many last epochs on the validation
            images; 0 for none.
        checkpoint_every: epochs between two checkpoints inside a task; 0 for none.
        keep: `latest` or `all` checkpoints of finished tasks.
        saved: where to go on.
    """

    stream: TaskStream
    strategy: Strategy
    record: Record
    make_trainer: Callable[..., Trainer]
    folder: Path
    terminal: Terminal
    epochs: int
    init_seed: int = 0
    batch_seed: int = 0
    evaluate_every: int = 1
    restore_best: int = 0
    checkpoint_every: int = 0
    keep: str = "latest"
    loggers: Sequence[Logger] = ()
    saved: Checkpoint | None = None
    digest: str = ""
    notes: Sequence[str] = ()
    _rounds: list[dict[str, float]] = field(default_factory=list)

    def run(self) -> Record:
        """Learns the tasks one after the other; writes the record after each."""
        self.device = self._tester.strategy.root_device
        self.stream.to(self.device, TRUE_PRECISIONS.get(self._tester.precision, torch.float32))
        if self.saved is not None:
            self.record.load_state_dict(self.saved.record)
        for note in (*self.notes, self.stream.note):
            if note:
                self.terminal.say(f"note: {note}")
        for task in self.stream:
            torch.manual_seed(derive(self.init_seed, "init", task.step))
            self.strategy.begin_task(task)
            if self.saved is None or task.step > self.saved.step:
                self._learn(task, None)
            elif task.step == self.saved.step and not self.saved.finished:
                self._learn(task, self.saved)
            elif task.step == self.saved.step:
                self.strategy.load_state_dict(self.saved.strategy)
                self.strategy.take_optimizer(self.saved.optimizer)
        return self.record

    def _learn(self, task: Task, saved: Checkpoint | None) -> None:
        self.terminal.begin(task.step, "begins")
        trained = self._train(task, saved)
        if trained:
            self._evaluate_before(task)
        with self._clock("train"):
            self.strategy.end_task(task, self.stream.loader(task.train))
        if trained:
            self._evaluate(task)
        self.record.parameters.append(self.strategy.network.size())
        self.record.single_size = self.strategy.network.single_size(task.index)
        self.record.write(self.folder, "running", self.strategy.method)
        self._checkpoint(task, finished=True).save(self.folder, self.keep)
        self._report(task)

    def _train(self, task: Task, saved: Checkpoint | None) -> bool:
        """Runs the rounds of a task; tells whether there was one."""
        rounds, metrics = self.strategy.rounds(task), None
        self._rounds, self.strategy.best = [], None
        while (now := _advance(rounds, metrics)) is not None:
            number = len(self._rounds)
            if saved is not None and number < len(saved.rounds):
                metrics = saved.rounds[number]  # replayed; its outcome is in the checkpoint
            else:
                here = saved if saved is not None and number == len(saved.rounds) else None
                metrics = self._fit(task, now, number, here)
            self._rounds.append(metrics)
        return bool(self._rounds)

    def _fit(
        self, task: Task, now: Round, number: int, saved: Checkpoint | None
    ) -> dict[str, float]:
        """Trains one round, from its begin or from a checkpoint inside it; gives its metrics."""
        first, best, late = 0, None, None
        if saved is not None:
            self.strategy.load_state_dict(saved.strategy)
            self.strategy.take_optimizer(saved.optimizer)
            first, best, late = saved.epoch, saved.best, saved.late
        epochs = self.epochs if now.epochs is None else now.epochs
        train, val = (part() if callable(part) else part for part in (now.train, now.val))
        self.stream.serve(task, train, number, first, val, now.batch_size, now.feeds)
        curve = self.record.validation.setdefault(f"{task.step}.{number}", {})
        late_from = epochs - self.restore_best if self.restore_best and now.restores else math.inf
        self.strategy.rate = now.rate
        validation = Validation(first, best, curve, late_from, late)

        def save(done: int, trainer: Trainer) -> None:
            if done < epochs:  # what follows the last epoch is saved on its own
                state = self._checkpoint(task, finished=False)
                state.epoch, state.best, state.late = done, validation.best, validation.late
                state.optimizer = self.strategy.optimizer_state()
                state.save(self.folder, self.keep)

        if number > 0 and saved is None:  # what the method did between rounds is in it
            self._checkpoint(task, finished=False).save(self.folder, self.keep)
        seed = derive(self.batch_seed, "noise", task.step, number)
        callbacks = [EpochSeeds(seed, first), validation, Logging(list(self.loggers))]
        if self.checkpoint_every:
            callbacks.append(Saving(self.checkpoint_every, first, save))
        if not self.terminal.progress.disable:
            callbacks.append(ProgressBar(self.terminal, task.step, epochs, first))
        validates = self.evaluate_every > 0 and len(task.val if val is None else val) > 0
        trainer = self._trainer(
            max_epochs=epochs - first,
            callbacks=callbacks,
            enable_checkpointing=True,  # the callbacks called last are of that kind
            limit_val_batches=1.0 if validates else 0,
            check_val_every_n_epoch=self.evaluate_every or None,
        )
        with self._clock("train"):
            trainer.fit(self.strategy, datamodule=self.stream)
            self.strategy.to(self.device)  # a Trainer leaves it on the CPU
        self.record.seconds["train"] -= validation.seconds
        self.record.seconds["evaluate"] += validation.seconds
        return self._outcome(trainer, validation, now.judged)

    def _outcome(
        self, trainer: Trainer, validation: Validation, judged: Images | None
    ) -> dict[str, float]:
        """The metrics of a round; goes back to a late epoch if that is asked for."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if validation.late is not None:
            self._load(validation.late["tensors"])
            metrics["val/restored"] = validation.late["accuracy"]
        if validation.best is not None:
            metrics["val/best"] = validation.best["accuracy"]
        self.strategy.best = validation.best
        if judged is not None:
            metrics["judged"] = float(self._asked([judged]).mean())
        return metrics

    def _evaluate_before(self, task: Task) -> None:
        """Measures what the end of the task may change: the best epoch, and earlier tasks."""
        best = self.strategy.best
        if best is not None:
            now = {name: value.clone() for name, value in changing(self.strategy).items()}
            self._load(best["tensors"])
            self._test(task.step, PEAK, [self.stream.tasks[task.index]])
            self._load(now)
        if self.strategy.rolls_back:
            self._test(task.step, BEFORE, self._seen(task))

    def _evaluate(self, task: Task) -> None:
        self._test(task.step, TEST, self._seen(task))
        for name in self.strategy.beside():
            self._test(task.step, BESIDE + name, self._seen(task))
        self._test(task.step, "train", [task], [task.train])
        if len(task.val):
            self._test(task.step, "val", [task], [task.val])
        if not any(row[0] == task.step and row[2] == PEAK for row in self.record.rows):
            learned = [row for row in self.record.rows if row[:3] == [task.step, task.index, TEST]]
            self.record.rows += [[*row[:2], PEAK, *row[3:]] for row in learned]

    def _seen(self, task: Task) -> list[Task]:
        met = sorted({visit.index for visit in self.stream.visits[: task.step + 1]})
        return [self.stream.tasks[index] for index in met]

    def _load(self, tensors: dict[str, torch.Tensor]) -> None:
        with torch.no_grad():
            for name, value in changing(self.strategy).items():
                value.copy_(tensors[name])

    def _test(
        self, step: int, split: str, tasks: Sequence[Task], images: Sequence[Images] | None = None
    ) -> None:
        """Counts right answers on the test images of `tasks`, or on other `images`."""
        counts = [(split, self._asked(images or [task.test for task in tasks]))]
        if self.strategy.asks == "both" and split == TEST:
            counts.append((CLASS, self.strategy.class_scores))
        for name, scores in counts:
            self.record.add(step, name, scores.right.tolist(), scores.total.tolist())

    def _asked(self, images: Sequence[Images]) -> TaskAccuracy:
        """The answers of the network as it is."""
        with self._clock("evaluate"):
            self._tester.test(self.strategy, dataloaders=self.stream.loader(*images), verbose=False)
            self.strategy.to(self.device)
        return self.strategy.scores

    def _checkpoint(self, task: Task, finished: bool) -> Checkpoint:
        return Checkpoint(
            step=task.step,
            finished=finished,
            strategy=self.strategy.state_dict(),
            record=self.record.state_dict(),
            rounds=[] if finished else list(self._rounds),
            optimizer=self.strategy.optimizer_state() if self._keeps_optimizer else None,
            tasks=[visit.description() for visit in self.stream.visits[: task.step + 1]],
            config=self.digest,
            grown=list(self.strategy.grown),
        )

    @property
    def _keeps_optimizer(self) -> bool:
        return self.strategy.lifetime == "stream"

    def _report(self, task: Task) -> None:
        """Tells person and loggers how it stands; a task without training has nothing to tell."""
        while self.strategy.notes:
            self.terminal.say(f"note: {self.strategy.notes.pop(0)}")
        if self.record.steps <= task.step:
            return
        told = f"{self.record.names[task.index]} ({task.step + 1} of {len(self.stream)}):"
        values: dict[str, float] = {"task": task.step}
        for split, group, how in (
            (TEST, "accuracy", ""),
            (CLASS, "accuracy_class", "; without the task given"),
        ):
            if self.record.has(split):
                row = self.record.matrix(split)[task.step]
                mean = row[row == row].mean()
                values |= {f"{group}/task_{j:02d}": a for j, a in enumerate(row) if a == a}
                values[f"{group}/mean"] = mean
                told += f"{how} accuracy {percent(row[task.index])}, "
                told += f"mean of the tasks so far {percent(mean)}"
        self.terminal.say(f"{told}, {self.record.seconds['train']:.0f} s of training")
        for name, value in self.record.metrics().items():
            if value is not None:
                values[f"metrics/{name}"] = value
        for logger in self.loggers:
            logger.log_metrics(values, step=self.strategy.epochs_trained)

    def _trainer(self, **options: Any) -> Trainer:
        quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
        return self.make_trainer(
            num_sanity_val_steps=0, **{"enable_checkpointing": False, **quiet, **options}
        )

    @cached_property
    def _tester(self) -> Trainer:
        """Unlike a fit, a test leaves a Trainer as it was."""
        return self._trainer()

    @contextmanager
    def _clock(self, what: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.record.seconds[what] += time.perf_counter() - begun


def _advance(rounds: Rounds, metrics: dict[str, float] | None) -> Round | None:
    """The next round, the last one's metrics handed over; None when the task is through."""
    try:
        return next(rounds) if metrics is None else rounds.send(metrics)
    except StopIteration:
        return None
