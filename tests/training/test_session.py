"""A run from its configuration to its page."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lifelong.report import page
from lifelong.training.session import Session, prepared
from tests.conftest import configured

QUICK = ["strategy=finetune", "data=digits", "tasks=1", "logger=none", "trainer=cpu", "seed=7"]


class Told:
    """Stands for an experiment; notes in which order things happen."""

    def __init__(self, unwritable: bool = False) -> None:
        self.events, self.unwritable = list[str](), unwritable
        self.strategy = SimpleNamespace(method={"a": 1})
        self.loggers: list[Any] = []
        self.record = SimpleNamespace(write=self.write, strategy="x", data="y", seed=1, names=[])
        self.terminal = SimpleNamespace(say=self.say, close=lambda: self.events.append("closed"))

    def run(self) -> None:
        self.events.append("run")

    def write(self, folder: Path, status: str, method: Any) -> None:
        assert method == {"a": 1}
        if self.unwritable:
            raise OSError("read-only")
        self.events.append(status)

    def say(self, content: Any, aloud: bool) -> None:
        self.events.append(f"said {content}, {aloud}")


def test_results_are_finished_when_the_page_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment: Any = Told()
    monkeypatch.setattr(page, "write_report", lambda *_, trust: experiment.events.append("page"))
    monkeypatch.setattr("lifelong.training.terminal.closing_table", lambda record: "table")
    session = Session(tmp_path, experiment)
    session.run(aloud=False)
    session.close()
    assert experiment.events == [
        "run", "running", "page", "finished", "said table, False",
        f"said report: {tmp_path}/report.html, False", "closed",
    ]  # fmt: skip


def test_a_failure_is_noted_where_that_can_be_written(tmp_path: Path) -> None:
    for unwritable in (False, True):
        experiment: Any = Told(unwritable)
        Session(tmp_path, experiment).fail()
        assert experiment.events == ([] if unwritable else ["failed"])
    done = Session(tmp_path, None)  # a finished run, of which nothing is left to do
    for step in (done.run, done.fail, done.close):
        step()


def test_a_run_is_put_together_in_a_folder_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(*QUICK, "trainer.threads=1")
    config.paths.output_dir = str(tmp_path / "run")
    with prepared(config, "finetune", "digits") as session:
        assert session.folder == tmp_path / "run"
        assert session.experiment is not None
        assert (tmp_path / "run" / "config.yaml").exists()
        assert (tmp_path / "run" / ".running").exists()
        again = configured(*QUICK, "trainer.threads=1")
        again.paths.output_dir = str(tmp_path / "run")
        with pytest.raises(ValueError, match="is at work in it"):
            prepared(again, "finetune", "digits").__enter__()
        session.close()
    told = f"finetune on digits, seed 7: CPU, 1 thread, in {tmp_path / 'run'}\n"
    assert capsys.readouterr().out == told
    assert not (tmp_path / "run" / ".running").exists()
    assert (tmp_path / "run" / "train.log").read_text() == told


def test_what_is_refused_leaves_nothing_behind(tmp_path: Path) -> None:
    for given, keys, added, message in (
        (["batch_size=100000"], (), (), "batch_size=100000"),
        ([], ["kind"], (), "kind: strategy="),
        ([], (), ["epoch"], "epoch: nothing reads epoch"),
    ):
        config = configured(*QUICK, *given)
        config.paths.output_dir = str(tmp_path / "a" / "run")
        with pytest.raises(Exception, match=message):
            prepared(config, "finetune", "digits", keys, added).__enter__()
        assert list(tmp_path.iterdir()) == []
