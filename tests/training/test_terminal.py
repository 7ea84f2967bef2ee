"""What a person sees while a run goes on."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from rich.console import Console

from lifelong.measures import Tally
from lifelong.training.console import QUIET
from lifelong.training.record import OTHER, TEST, Record
from lifelong.training.terminal import REFRESH, ProgressBar, Terminal, closing_table
from tests.measures.predicted import answered


def test_what_is_printed_is_in_the_log_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it is: brackets and colons of a person's own are no commands."""
    terminal = Terminal(tmp_path, 3, "ours on [toy]\a")
    terminal.say("name=x[/b]: :cat: \x1b[31m")
    terminal.say("of a sweep", aloud=False)
    terminal.note("alone\n")
    terminal.begin(2, "task 2")
    terminal.fail("failed: it diverged")
    terminal.close()
    captured = capsys.readouterr()
    assert captured.out == "name=x[/b]: :cat: \\x1b[31m\n"
    assert captured.err == "failed: it diverged\n"
    assert (tmp_path / "train.log").read_text() == (
        "ours on [toy]\\x07\nname=x[/b]: :cat: \\x1b[31m\nof a sweep\nalone\nfailed: it diverged\n"
    )
    again = Terminal(tmp_path, 3)
    again.say("goes on")
    again.close()
    assert (tmp_path / "train.log").read_text().endswith("failed: it diverged\ngoes on\n")


def test_one_run_of_several_is_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(QUIET, "1")
    terminal = Terminal(tmp_path, 1)
    terminal.say("a line")
    terminal.close()
    assert capsys.readouterr().out == ""
    assert (tmp_path / "train.log").read_text() == "a line\n"


def test_the_bar_moves_a_few_times_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In visits: half of the second one's epochs are over."""
    now = [100.0]
    monkeypatch.setattr("lifelong.training.terminal.time.monotonic", lambda: now[0])
    terminal = Terminal(tmp_path, 3)
    bar = ProgressBar(terminal, visit=2, epochs=8, first_epoch=3)
    trainer: Any = SimpleNamespace(current_epoch=1, callback_metrics={})
    module: Any = None

    def shown() -> tuple[float, str]:
        bar.on_train_batch_end(trainer, module, {"loss": torch.tensor(0.5)}, None, 0)
        [task] = terminal.progress.tasks
        return task.completed, task.fields["values"]

    assert shown() == (1.5, "epoch 5/8  loss 0.500")
    trainer.current_epoch, trainer.callback_metrics = 2, {"val/accuracy": torch.tensor(0.875)}
    now[0] += 0.9 * REFRESH
    assert shown() == (1.5, "epoch 5/8  loss 0.500")
    now[0] += 0.2 * REFRESH
    assert shown() == (1.625, "epoch 6/8  loss 0.500  val 87.5 %")
    terminal.close()


def test_the_table_at_the_end_has_every_task_as_learned_and_as_left() -> None:
    record = Record("ours", "toy", 7, [0, 1, 0], ["one", "two"])
    other, _ = OTHER["task"]
    for visit, rights in enumerate(((8, None), (6, 9), (7, 5)), 1):
        for split, less in ((TEST, 0), (other, 2)):
            tally = Tally()
            for task, right in enumerate(rights):
                if right is not None:
                    answers = torch.arange(10) < right - less
                    answered(tally, answers, torch.full((10,), task))
            record.add(visit, split, tally)
    text = io.StringIO()
    Console(file=text, width=120).print(closing_table(record))
    lines = [line.replace("│", " ").replace("┃", " ").split() for line in
             text.getvalue().splitlines()]  # fmt: skip
    assert "ours on toy, seed 7" in text.getvalue()
    assert ["one", "70.0", "%", "70.0", "%", "50.0", "%"] in lines  # learned in the third visit
    assert ["two", "90.0", "%", "50.0", "%", "30.0", "%"] in lines
    assert ["final", "accuracy", "60.0", "%", "40.0", "%"] in lines
    assert "class-incremental" in text.getvalue()
