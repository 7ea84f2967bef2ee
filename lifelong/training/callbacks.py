"""What watches a training: seeds of epochs, the best epoch, saving, logging. None of it learns."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.callbacks import Checkpoint as LastCallback  # called after all others
from lightning.pytorch.loggers import Logger
from torch import Tensor

from lifelong.data import Batch
from lifelong.data.generators import seed_all
from lifelong.data.seeds import derive
from lifelong.measures import Tally
from lifelong.measures.history import append_downsampled
from lifelong.strategies import Strategy
from lifelong.strategies.answering import EvalMode
from lifelong.training.record import Record


class EpochSeeds(Callback):
    """Each epoch begins with a seed of its own: a resumed one draws what it would have drawn."""

    def __init__(self, seed: int, first_epoch: int) -> None:
        self.seed, self.first_epoch = seed, first_epoch

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        seed_all(derive(self.seed, "epoch", self.first_epoch + trainer.current_epoch))


class Validation(Callback):
    """Keeps what is trained as it was in the earliest epoch of highest validation accuracy.

    Args:
        first_epoch: of this training.
        best: see below.
        curve: where the accuracies are noted.
        late_from: first epoch that counts for `late`.
        late: see below.

    Attributes:
        best: accuracy, epoch and tensors of that epoch; None before the first validation.
        late: the same of the best epoch among the last ones; None if there is no `late_from`.
        seconds: spent on validation.
    """

    def __init__(
        self,
        first_epoch: int,
        best: dict[str, Any] | None,
        curve: dict[str, Any],
        late_from: float = math.inf,
        late: dict[str, Any] | None = None,
    ) -> None:
        self.first_epoch, self.best, self.curve = first_epoch, best, curve
        self.late_from, self.late = late_from, late
        self.seconds = self._begun = 0.0

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begun = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Strategy)
        accuracy = pl_module.accuracy
        epoch = self.first_epoch + trainer.current_epoch
        append_downsampled(self.curve, epoch + 1, accuracy=round(accuracy, 6))
        better = self.best is None or accuracy > self.best["accuracy"]
        late = epoch >= self.late_from and (self.late is None or accuracy > self.late["accuracy"])
        if better or late:
            tensors = {name: value.detach().clone() for name, value in changing(pl_module).items()}
            now = {"accuracy": accuracy, "epoch": epoch, "tensors": tensors}
            self.best = now if better else self.best
            self.late = now if late else self.late
        self.seconds += time.perf_counter() - self._begun


def changing(strategy: Strategy) -> dict[str, Tensor]:
    """What training changes: parameters that are not frozen, and buffers."""
    trained = {name: p for name, p in strategy.named_parameters() if p.requires_grad}
    return trained | dict(strategy.named_buffers())


class Anytime(Callback):
    """Tests every so many training steps of the stream on a few images of the tasks seen.

    De Lange, van de Ven, Tuytelaars, "Continual evaluation for lifelong learning: Identifying the
    stability gap", ICLR 2023. The training does not notice: nothing is drawn.

    Args:
        every: steps between two tests.
        visit: number of the visit that is learned.
        loader: of the images.
        record: takes the right answers.

    Attributes:
        seconds: spent on it.
    """

    def __init__(self, every: int, visit: int, loader: Iterable[Batch], record: Record) -> None:
        self.every, self.visit, self.loader, self.record = every, visit, loader, record
        self.seconds = 0.0

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        self._test(trainer, pl_module)  # when all hooks of the step before are through

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._test(trainer, pl_module)

    @torch.no_grad()
    def _test(self, trainer: Trainer, strategy: LightningModule) -> None:
        assert isinstance(strategy, Strategy)
        steps = strategy.steps_trained
        tested = self.record.anytime[-1][1] if self.record.anytime else 0
        if steps % self.every or steps == tested:  # an epoch's end is the begin of the next
            return
        begun = time.perf_counter()
        tallies: dict[EvalMode, Tally] = {strategy.eval_modes[0]: Tally()}
        strategy.eval()
        strategy.before_answers()
        with trainer.precision_plugin.forward_context():
            for batch in self.loader:
                strategy.measure(strategy.on_device(batch, strategy.device), tallies)
        strategy.train()
        self.record.add_steps(self.visit, steps, tallies[strategy.eval_modes[0]])
        self.seconds += time.perf_counter() - begun


class Saving(LastCallback):
    """Calls `save(epochs done)` after every n-th epoch, when the epoch's hooks are through."""

    def __init__(self, every: int, first_epoch: int, save: Callable[[int, Trainer], None]) -> None:
        self.every, self.first_epoch, self.save = every, first_epoch, save

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        done = self.first_epoch + trainer.current_epoch + 1
        if self.every and done % self.every == 0:
            self.save(done, trainer)


class Logging(LastCallback):
    """Hands what the strategy logged to the loggers, against the epochs of the whole stream."""

    def __init__(self, loggers: list[Logger]) -> None:
        self.loggers = loggers

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, Strategy)
        if self.loggers:
            values = {name: float(value) for name, value in trainer.callback_metrics.items()}
            values["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
            for logger in self.loggers:
                logger.log_metrics(values, step=pl_module.epochs_trained)
