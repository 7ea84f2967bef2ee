"""The experiment on one page: a strategy learns a stream; the only place that knows the Trainer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.pytorch.loggers import Logger

from lifelong.data import Images, TaskStream, Visit
from lifelong.data.generators import seed_all
from lifelong.data.seeds import derive
from lifelong.measures import Tally
from lifelong.measures.costs import begin_costs, kept_bytes, multiply_adds, peak_memory
from lifelong.measures.matrix import mean_of_seen
from lifelong.measures.metrics import how_asked, percent
from lifelong.parts.plasticity import plasticity
from lifelong.storage.checkpoint import Checkpoint
from lifelong.strategies import Round, Strategy
from lifelong.strategies.ahead import with_future_tasks
from lifelong.strategies.answering import EvalMode
from lifelong.strategies.strategy import Rounds
from lifelong.training.callbacks import Anytime, EpochSeeds, Logging, Saving, Validation, changing
from lifelong.training.record import AHEAD, BEFORE, BESIDE, OTHER, PEAK, TEST, UNTRAINED, Record
from lifelong.training.several import takes_several
from lifelong.training.terminal import ProgressBar, Terminal

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
        evaluate_on: test the tasks `seen`, or `all`: those to come, too, as they would begin.
        evaluate_every_visits: visits between two tests on all tasks seen; others, but the last,
            test the task learned alone.
        evaluate_every_steps: training steps between two tests inside visits; 0 for none.
        evaluate_images: test images of a task for these.
        costs: count multiply-adds.
        plasticity: look at the units of the body after each visit.
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
    evaluate_on: str = "seen"
    evaluate_every_visits: int = 1
    evaluate_every_steps: int = 0
    evaluate_images: int = 100
    costs: bool = False
    plasticity: bool = False
    checkpoint_every: int = 0
    keep: str = "latest"
    loggers: Sequence[Logger] = ()
    saved: Checkpoint | None = None
    digest: str = ""
    notes: Sequence[str] = ()
    _rounds: list[dict[str, float]] = field(default_factory=list)
    _there: dict[str, str] | None = None  # modules, parameters as a task began, of own methods

    def run(self) -> Record:
        """Learns the tasks one after the other; writes the record after each."""
        self.device = self._tester.strategy.root_device
        begin_costs(self.device)
        self.stream.to(self.device, TRUE_PRECISIONS.get(self._tester.precision, torch.float32))
        if self.saved is not None:
            self.record.load_state_dict(self.saved.record)
        for note in (*self.notes, self.stream.note):
            if note:
                self.terminal.say(f"note: {note}")
        for visit in self.stream:
            seed_all(derive(self.init_seed, "init", visit.number - 1))
            self.strategy.to(self.device)  # in a run that goes on, too: others round otherwise
            self._begin(visit)
            self._tester.precision_plugin.convert_module(self.strategy)  # checkpoints have its type
            if self.saved is None or visit.number > self.saved.visit:
                self._learn(visit, None)
            elif visit.number == self.saved.visit and not self.saved.finished:
                self._learn(visit, self.saved)
            elif visit.number == self.saved.visit:
                self.strategy.load_state_dict(self.saved.strategy)
                self.strategy.take_optimizer(self.saved.optimizer)
        return self.record

    def _learn(self, visit: Visit, saved: Checkpoint | None) -> None:
        self.terminal.begin(visit.number, "begins")
        if visit.number == 1 and saved is None:
            self._look_ahead(visit, UNTRAINED)
        trained = self._train(visit, saved)
        if trained:
            self._evaluate_before(visit)
        self.strategy.to(self.device)  # where nothing was trained, too
        with self._clock("train"), self.strategy.uncompiled():
            self.strategy.close_task(visit, self.stream.loader(visit.train))
        self._check_made()
        if trained or self.strategy.learns_at_the_end:
            self._evaluate(visit)
        self.record.parameters.append(self.strategy.network.size())
        self.record.bytes.append(kept_bytes(self.strategy))
        before = self.record.peak_memory  # of a part of the run that was stopped
        now = peak_memory(self.device)
        most = {name: max(now.get(name, 0), before.get(name, 0)) for name in before | now}
        self.record.peak_memory = most
        self.record.single_size = self.strategy.network.single_size(visit.task.index)
        self.record.write(self.folder, "running", self.strategy.method)
        told = self._log(visit)
        self._save(self._checkpoint(visit, finished=True))
        while self.strategy.notes:
            self.terminal.say(f"note: {self.strategy.notes.pop(0)}")
        if told:
            self.terminal.say(told)

    def _begin(self, visit: Visit) -> None:
        if visit.number == 1:
            self.strategy.keep_still()  # what was made so
        self.strategy.train()
        self.strategy.begin_task(visit)
        self.strategy.keep_still()
        self._there = None if self._ours else self._parts()
        if self.strategy.visit != visit.number:
            raise ValueError(
                f"strategy={type(self.strategy).__name__}: its begin_task does not call "
                "super().begin_task(visit), which makes the head of the task and the like"
            )

    @property
    def _ours(self) -> bool:
        """Whether the method is one of the framework's own."""
        return type(self.strategy).__module__.startswith("lifelong.")

    def _parts(self) -> dict[str, str]:
        """Modules and parameters by name, and of what kind they are."""
        modules, parameters = self.strategy.named_modules(), self.strategy.named_parameters()
        return {name: "module" for name, _ in modules} | {
            name: f"parameter {list(p.shape)}" for name, p in parameters
        }

    def _check_made(self) -> None:
        """Refuses what a method of one's own made, and no checkpoint could give back.

        A run that goes on, or is loaded, has what the constructor and `begin_task` make.
        """
        if self._there is None:
            return
        now = self._parts()
        new = {name for name, what in now.items() if self._there.get(name) != what}
        made = sorted(name for name in new if name.rpartition(".")[0] not in new)
        if made:
            raise ValueError(
                f"strategy={type(self.strategy).__name__}: has made the {now[made[0]]} {made[0]} "
                "while it learned, which a run that goes on could not have; make it in __init__ or "
                "in begin_task, which is called again for the earlier tasks"
            )

    def _train(self, visit: Visit, saved: Checkpoint | None) -> bool:
        """Runs the rounds of a task; tells whether there was one."""
        rounds, metrics = self.strategy.rounds(visit), None
        if not isinstance(rounds, Generator):
            raise ValueError(
                f"strategy={type(self.strategy).__name__}: its rounds gives a "
                f"{type(rounds).__name__}; write it with yield Round(...)"
            )
        self._rounds, self.strategy.best = [], None
        while (now := _advance(rounds, metrics)) is not None:
            number = len(self._rounds)
            if saved is not None and number < len(saved.rounds):
                metrics = saved.rounds[number]  # replayed; its outcome is in the checkpoint
            else:
                here = saved if saved is not None and number == len(saved.rounds) else None
                metrics = self._fit(visit, now, number, here)
            self._rounds.append(metrics)
        return bool(self._rounds)

    def _fit(
        self, visit: Visit, now: Round, number: int, saved: Checkpoint | None
    ) -> dict[str, float]:
        """Trains one round, from its begin or from a checkpoint inside it; gives its metrics."""
        self._check_passes(now, number)
        first, best, late = 0, None, None
        self.strategy.round_steps = 0
        if saved is not None:
            self.strategy.load_state_dict(saved.strategy)
            self.strategy.take_optimizer(saved.optimizer)
            first, best, late = saved.epoch, saved.best, saved.late
        epochs = self.epochs if now.epochs is None else now.epochs
        train, val = (part() if callable(part) else part for part in (now.train, now.val))
        self.stream.serve(visit, train, number, first, val, now.batch_size, now.feeds)
        curve = self.record.validation.setdefault(f"{visit.number}.{number + 1}", {})
        late_from = (
            epochs - self.restore_best if self.restore_best and now.restore_best else math.inf
        )
        self.strategy.lr_scale, self.strategy.first_epoch = now.lr_scale, first
        self.strategy.serves_others = now.train is not None or bool(now.feeds)
        validation = Validation(first, best, curve, late_from, late)

        def save(done: int, trainer: Trainer) -> None:
            if done < epochs:  # what follows the last epoch is saved on its own
                state = self._checkpoint(visit, finished=False)
                state.epoch, state.best, state.late = done, validation.best, validation.late
                state.optimizer = self.strategy.optimizer_state()
                spent = self._spent(time.perf_counter() - begun, tested())
                state.record = {**state.record, "seconds": spent}
                self._save(state)

        if number > 0 and saved is None:  # what the method did between rounds is in it
            self._save(self._checkpoint(visit, finished=False))
        seed = derive(self.batch_seed, "noise", visit.number - 1, number)
        callbacks = [EpochSeeds(seed, first), validation, Logging(list(self.loggers))]
        anytime = self._anytime(visit)
        callbacks += [] if anytime is None else [anytime]

        def tested() -> float:
            return validation.seconds + (0 if anytime is None else anytime.seconds)

        if self.checkpoint_every:
            callbacks.append(Saving(self.checkpoint_every, first, save))
        if not self.terminal.progress.disable:
            callbacks.append(ProgressBar(self.terminal, visit.number, epochs, first))
        validates = self.evaluate_every > 0 and len(visit.task.val if val is None else val) > 0
        trainer = self._trainer(
            max_epochs=epochs - first,
            callbacks=callbacks,
            enable_checkpointing=True,  # the callbacks called last are of that kind
            limit_val_batches=1.0 if validates else 0,
            check_val_every_n_epoch=self.evaluate_every or None,
        )
        self.stream.several = takes_several(trainer, self.strategy)
        self.strategy.train()  # Lightning leaves modules as they are; methods say what stays still
        begun = time.perf_counter()
        try:
            trainer.fit(self.strategy, datamodule=self.stream)
            self.strategy.to(self.device)  # a Trainer leaves it on the CPU
        finally:
            self.record.seconds = self._spent(time.perf_counter() - begun, tested())
        self._count_costs()
        return self._outcome(trainer, validation, now.score_on)

    def _spent(self, passed: float, tested: float) -> dict[str, float]:
        """Seconds of the run when so many have passed in a round, in a part of them tests."""
        seconds = self.record.seconds
        return seconds | {
            "train": seconds["train"] + passed - tested, "evaluate": seconds["evaluate"] + tested
        }  # fmt: skip

    def _check_passes(self, now: Round, number: int) -> None:
        if self.stream.online and (number > 0 or now.epochs not in (None, 1)):
            raise ValueError(
                f"data.online=true: {self.record.strategy} trains more than once on the images "
                "of a task; leave data.online out"
            )

    def _count_costs(self) -> None:
        """Of a training step of the round that has just ended."""
        if self.costs:
            self.stream.several = False
            batch = next(iter(self.stream.train_dataloader()))
            moved: Any = self.strategy.transfer_batch_to_device(batch, self.device, 0)
            self.record.multiply_adds = multiply_adds(self.strategy, moved, self.stream.images())

    def _outcome(
        self, trainer: Trainer, validation: Validation, score_on: Images | None
    ) -> dict[str, float]:
        """The metrics of a round; goes back to a late epoch if that is asked for."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        if validation.late is not None:
            self._load(validation.late["tensors"])
            metrics["val/restored"] = validation.late["accuracy"]
        if validation.best is not None:
            metrics["val/best"] = validation.best["accuracy"]
        self.strategy.best = validation.best
        if score_on is not None:
            self._run_test([score_on])
            metrics["score"] = self.strategy.accuracy
        return metrics

    def _evaluate_before(self, visit: Visit) -> None:
        """Measures what the end of the task may change: the best epoch, and earlier tasks."""
        best = self.strategy.best
        if best is not None and not self.strategy.learns_at_the_end:
            now = {name: value.clone() for name, value in changing(self.strategy).items()}
            self._load(best["tensors"])
            self._test(visit.number, PEAK, [self.stream.tasks[visit.task.index].test])
            self._load(now)
        if self.strategy.modifies_earlier_tasks:
            self._test(visit.number, BEFORE, self._asked(visit))

    def _evaluate(self, visit: Visit) -> None:
        asked = self._asked(visit)
        self._test(visit.number, TEST, asked)
        self._look_ahead(visit, AHEAD)
        if self.plasticity:
            found = plasticity(self.strategy.network.get_submodule("body"), visit.task.test)
            self.record.plasticity.append({"visit": visit.number, **found})
        for name in self.strategy.auxiliary_networks():
            self._test(visit.number, BESIDE + name, asked)
        self._test(visit.number, "train", [visit.train])
        if len(visit.task.val):
            self._test(visit.number, "val", [visit.task.val])
        if not len(self.record.of(PEAK, visit.number)):
            self.record.take_over(visit.number, visit.task.index, TEST, PEAK)

    def _anytime(self, visit: Visit) -> Anytime | None:
        """Tests inside the visit, on a few images of each task seen."""
        if not self.evaluate_every_steps:
            return None
        parts = []
        for images in self._seen(visit):
            draw = torch.Generator().manual_seed(derive(0, "anytime", int(images.t[0])))
            rows = torch.randperm(len(images), generator=draw)[: self.evaluate_images]
            parts.append(images.part(rows.sort().values))
        every = self.evaluate_every_steps
        return Anytime(every, visit.number, self.stream.loader(*parts), self.record)

    def _look_ahead(self, visit: Visit, split: str) -> None:
        """Measures tasks to come, with the task given; the untrained network on all tasks.

        After visits that do not test all tasks seen it is the next task alone.
        """
        met = self.stream.visits[: visit.number]
        known = {each.task.index for each in met}
        first = {each.task.index: each for each in reversed(self.stream.visits)}
        coming_visits = sorted(
            (each for index, each in first.items() if index not in known),
            key=lambda each: each.number,
        )
        if split == AHEAD and not self._tests_all(visit):
            coming_visits = coming_visits[:1]
        coming = {
            derive(self.init_seed, "init", each.number - 1): each.task for each in coming_visits
        }
        if self.evaluate_on != "all" or (split == AHEAD and not coming):
            return
        images = [task.test for task in coming.values()]
        images += self._seen(visit) if split == UNTRAINED else []
        ways, self.strategy.eval_modes = self.strategy.eval_modes, ("task",)
        with with_future_tasks(self.strategy, coming):
            self._test(visit.number, split, images)
        self.strategy.eval_modes = ways

    def _tests_all(self, visit: Visit) -> bool:
        """Whether all tasks seen are tested after the visit."""
        return visit.number % self.evaluate_every_visits == 0 or visit.number == len(self.stream)

    def _asked(self, visit: Visit) -> list[Images]:
        """Test images after the visit."""
        return self._seen(visit) if self._tests_all(visit) else [visit.task.test]

    def _seen(self, visit: Visit) -> list[Images]:
        """Test images of the seen tasks."""
        met = sorted({each.task.index for each in self.stream.visits[: visit.number]})
        return [self.stream.tasks[index].test for index in met]

    def _load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Puts back what `changing` was; what came since is left, what has grown is replaced."""
        with torch.no_grad():
            for name, value in changing(self.strategy).items():
                then = tensors.get(name, value)
                if then.shape == value.shape:
                    value.copy_(then)
                else:
                    path, _, own = name.rpartition(".")
                    setattr(self.strategy.get_submodule(path), own, then.clone())

    def _test(self, visit: int, split: str, images: Sequence[Images]) -> None:
        """Counts right answers to images, and measures what else is asked."""
        own, *others = self._run_test(images).values()
        self.record.add(visit, split, own)
        for tally in others if split == TEST else ():
            self.record.add(visit, OTHER[self.record.eval_mode][0], tally)

    def _run_test(self, images: Sequence[Images]) -> dict[EvalMode, Tally]:
        """The answers of the network as it is."""
        with self._clock("evaluate"):
            self._tester.test(self.strategy, dataloaders=self.stream.loader(*images), verbose=False)
            self.strategy.to(self.device)
        return self.strategy.tallies

    def _checkpoint(self, visit: Visit, finished: bool) -> Checkpoint:
        return Checkpoint(
            visit=visit.number,
            finished=finished,
            strategy=self.strategy.state_dict(),
            record=self.record.state_dict(),
            rounds=[] if finished else list(self._rounds),
            optimizer=self.strategy.optimizer_state() if self._keeps_optimizer else None,
            visits=[each.description() for each in self.stream.visits[: visit.number]],
            config=self.digest,
            of=len(self.stream),
            grown=list(self.strategy.grown),
        )

    def _save(self, state: Checkpoint) -> None:
        """Writes a checkpoint, and before it what loggers hold back: a run goes on behind both."""
        for logger in self.loggers:
            logger.save()
        state.save(self.folder, self.keep)

    @property
    def _keeps_optimizer(self) -> bool:
        return self.strategy.lifetime == "stream"

    def _log(self, visit: Visit) -> str:
        """Hands the loggers how it stands, and gives the line for a person.

        A task without training has nothing to tell.
        """
        if not len(self.record.of(TEST, visit.number)):
            return ""
        told = f"{self.record.names[visit.task.index]} ({visit.number} of {len(self.stream)}):"
        values: dict[str, float] = {"visit": visit.number}
        other, end = OTHER[self.record.eval_mode]
        for split, group, how in (
            (TEST, "accuracy", ""), (other, f"accuracy{end}", f"; {how_asked(end)}:"),
        ):  # fmt: skip
            if self.record.has(split):
                matrix = self.record.matrix(split)
                row, mean = matrix[-1], mean_of_seen(matrix)[-1]
                values |= {f"{group}/task_{j:02d}": a for j, a in enumerate(row, 1) if a == a}
                told += f"{how} accuracy {percent(row[visit.task.index])}"
                if not math.isnan(mean):
                    values[f"{group}/mean"] = mean
                    told += f", mean of the tasks so far {percent(mean)}"
        if self.loggers:
            found = {f"metrics/{name}": value for name, value in self.record.metrics().items()}
            values |= {name: value for name, value in found.items() if value is not None}
        for logger in self.loggers:
            logger.log_metrics(values, step=self.strategy.epochs_trained)
        return f"{told}, {self.record.seconds['train']:.0f} s of training"

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
