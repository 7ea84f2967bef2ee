"""What a person sees while a run goes on: lines, one live bar, the closing table."""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

from lifelong.errors import plain
from lifelong.measures.matrix import learned_at
from lifelong.measures.metrics import METRICS, how_asked, metric_of, percent
from lifelong.training.console import PLAIN, QUIET
from lifelong.training.record import OTHER, TEST, Record

REFRESH = 0.25  # seconds between two looks at the loss
# Metrics at the end of a run.
CLOSING = ("final_accuracy", "peak_accuracy", "learning_accuracy", "forgetting", "forgetting_ratio")


class Terminal:
    """Prints, and keeps in `train.log` what was printed.

    Args:
        folder: of the run.
        visits: of the stream.
        headline: what was printed before.
    """

    def __init__(self, folder: Path, visits: int, headline: str = "") -> None:
        quiet = QUIET in os.environ  # other runs talk, too
        self.console = Console(**PLAIN, soft_wrap=True, quiet=quiet)
        self.log = (folder / "train.log").open("a", encoding="utf-8")
        self.visits = visits
        if headline:
            self.note(f"{plain(headline)}\n")
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            TaskProgressColumn(),
            TextColumn("{task.fields[values]}", markup=False),
            TimeElapsedColumn(table_column=Column(min_width=7)),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True, table_column=Column(min_width=7)),
        )
        live = self.console.is_terminal and not quiet
        self.progress = Progress(*columns, console=self.console, disable=not live, transient=True)
        self.bar = self.progress.add_task("", total=visits, values="")

    def say(self, content: Any, aloud: bool = True) -> None:
        """Prints a text or table above the bar, or only into the log."""
        content = plain(content) if isinstance(content, str) else content
        if aloud:
            self.console.print(content)
        text = io.StringIO()
        Console(file=text, width=100, soft_wrap=True, **PLAIN).print(content)
        self.note(text.getvalue())

    def note(self, text: str) -> None:
        """Into the log alone."""
        with suppress(OSError):  # of a full disk; what matters more tells of it
            self.log.write(text)
            self.log.flush()

    def fail(self, text: str) -> None:
        """Prints why the run failed, where errors go, and into the log."""
        self.progress.stop()
        print(text, file=sys.stderr, flush=True)
        self.note(f"{text}\n")

    def begin(self, visit: int, name: str) -> None:
        """The bar shows that a visit begins, by its number."""
        self.progress.start()
        description = f"visit {visit}/{self.visits}"
        self.progress.update(self.bar, completed=visit - 1, description=description, values=name)

    def close(self) -> None:
        self.progress.stop()
        with suppress(OSError):
            self.log.close()


class ProgressBar(Callback):
    """Moves the bar, a few times a second."""

    def __init__(self, terminal: Terminal, visit: int, epochs: int, first_epoch: int) -> None:
        self.terminal, self.visit = terminal, visit
        self.epochs, self.first_epoch = epochs, first_epoch
        self._next = 0.0

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + REFRESH
        epoch = self.first_epoch + trainer.current_epoch
        accuracy = trainer.callback_metrics.get("val/accuracy")
        seen = "" if accuracy is None else f"  val {100 * float(accuracy):.1f} %"
        values = f"epoch {epoch + 1}/{self.epochs}  loss {float(outputs['loss']):.3f}{seen}"
        self.terminal.progress.update(
            self.terminal.bar, completed=self.visit - 1 + epoch / self.epochs, values=values
        )


def closing_table(record: Record) -> Table:
    """The last row of the matrix and the headline metrics."""
    table = Table(title=plain(f"{record.strategy} on {record.data}, seed {record.seed}"))
    table.add_column("task")
    columns = {"when learned": TEST, "at the end": TEST}
    other, end = OTHER[record.eval_mode]
    if record.has(other):
        columns[how_asked(end)] = other
    for heading in columns:
        table.add_column(heading, justify="right")
    matrices = [record.matrix(split) for split in columns.values()]
    for task, row in sorted(learned_at(record.visits[: record.steps]).items()):
        rows = (row, *(-1 for _ in matrices[1:]))
        cells = (matrix[at, task] for matrix, at in zip(matrices, rows, strict=True))
        table.add_row(plain(record.names[task]), *map(percent, cells))
    table.add_section()
    for row_of_figure in _figures(record, end if record.has(other) else None):
        table.add_row(*row_of_figure)
    for name, seconds in record.seconds.items():
        table.add_row(f"seconds: {name}", "", f"{seconds:.1f}")
    return table


def _figures(record: Record, end: str | None) -> Iterator[list[str]]:
    """The headline metrics, and the other measures; also in the other way of asking."""
    found = record.metrics()
    shown = [name for name in METRICS if name in CLOSING]
    for name in (*shown, *(f"final_{measure}" for measure in record.measured())):
        metric, value = metric_of(name), found.get(name)
        if metric is not None and value is not None:
            other = [] if end is None else [found.get(f"{name}{end}")]
            more = ["" if each is None else metric.text(each) for each in other]
            yield [metric.words, "", metric.text(value), *more]
