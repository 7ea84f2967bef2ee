"""The command line of a run, and one configuration carried out."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lifelong import run
from lifelong.strategies.learner import Diverged
from tests.conftest import configured

QUICK = ["strategy=finetune", "data=digits", "logger=none", "trainer=cpu"]


def called(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["run", *arguments])
        patch.setenv("HYDRA_FULL_ERROR", "0")  # which it sets for itself
        with pytest.raises(SystemExit) as end:
            run.main()
    return int(end.value.code or 0)


def test_words_that_name_no_option_end_it_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert called("--help") == 0
    assert "strategy=  the method" in capsys.readouterr().out
    for given, message in (
        ("=3", "error: =3: names no option; give option=value"),
        ("name=\udcff", "error: name=\\udcff: is no text in UTF-8; rename what it names"),
    ):
        assert called(given) == 2
        assert capsys.readouterr().err.strip() == message


def test_a_refusal_is_told_to_the_sweep_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = configured(*QUICK, "epochs=0")
    config.paths.output_dir = str(tmp_path / "a" / "run")
    told: list[str] = []
    assert run.execute(config, "finetune", "digits", failed=told.append) == 2
    assert len(told) == 1
    assert told[0].startswith("epochs=0: give a whole number, 1 or more")
    assert capsys.readouterr().err == f"error: {told[0]}\n"
    assert list(tmp_path.iterdir()) == []


class Ending:
    """A session whose run ends in some way; notes what is done about it."""

    def __init__(self, folder: Path, error: BaseException) -> None:
        self.folder, self.error, self.told = folder, error, list[str]()
        terminal = SimpleNamespace(
            say=self.told.append, fail=self.told.append, note=lambda text: self.told.append("log")
        )
        self.experiment = SimpleNamespace(terminal=terminal)

    def run(self, aloud: bool) -> None:
        raise self.error

    def fail(self) -> None:
        self.told.append("noted")

    def close(self) -> None:
        self.told.append("closed")


@pytest.mark.parametrize(
    ("error", "status", "told"),
    [
        (run.Stopped(15), 143, ["stopped; to go on: the same command with resume=auto {}"]),
        (Diverged("the loss became nan"), 1, ["noted", "failed: the loss became nan"]),
        (
            OSError(28, "No space left on device"), 1,
            ["noted", "failed: No space left on device; free some space; to go on: the same "
             "command with resume=auto {}"],
        ),
        (
            KeyError("x"), 1,
            ["noted", "log", "failed: KeyError: 'x'; the traceback is in {folder}/train.log"],
        ),
    ],
)  # fmt: skip
def test_whatever_ends_a_run_is_told_and_noted(
    tmp_path: Path, error: BaseException, status: int, told: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("LIFELONG_FULL_ERROR", raising=False)
    folder = tmp_path / "of mine"
    session: Any = Ending(folder, error)
    failures: list[str] = []
    assert run._run_experiment(session, folder, failures.append) == status
    place = f"'paths.output_dir={folder}'"
    assert session.told == [*(text.format(place, folder=folder) for text in told), "closed"]
    assert len(failures) == (status == 1)


def test_signals_are_handled_for_a_while() -> None:
    before = {name: signal.getsignal(getattr(signal, name)) for name in run.ENDING}
    caught: list[int] = []
    with run._signals(lambda number, frame: caught.append(number)):
        os.kill(os.getpid(), signal.SIGTERM)
    assert caught == [signal.SIGTERM]
    assert {name: signal.getsignal(getattr(signal, name)) for name in run.ENDING} == before


def test_a_signal_where_exceptions_are_lost_comes_again() -> None:
    class Ending:
        """An object during whose removal a signal arrives."""

        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)

    hook = sys.unraisablehook

    def waiting() -> None:
        with run._signals(run._stop):
            Ending()
            time.sleep(5)

    with pytest.raises(run.Stopped) as stopped:
        waiting()
    assert stopped.value.args == (signal.SIGTERM,)
    assert sys.unraisablehook is hook
