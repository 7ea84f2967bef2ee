"""How every command begins and ends."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
from argparse import ArgumentTypeError
from pathlib import Path
from typing import Any

import pytest

from lifelong import errors
from lifelong.errors import Lasting, check_named, command, is_mistake, place, plain, reason, root


def wrapped(error: Exception) -> Exception:
    """As building an object wraps it, twice."""
    for kind in (TypeError, RuntimeError):
        outer = kind("of the builder")
        outer.__cause__ = error
        error = outer
    return error


def test_the_error_that_started_it_decides() -> None:
    inner = ValueError("lr=0: give more")
    assert root(wrapped(inner)) is inner
    assert reason(wrapped(inner)) == "lr=0: give more"
    assert is_mistake(wrapped(inner))
    assert not is_mistake(wrapped(KeyError("x")))
    assert is_mistake(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert reason(KeyError("x")) == "KeyError: 'x'"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\tb\nc", "a\tb\nc"),
        ("bell \a", "bell \\x07"),
        ("\u202edrow", "\\u202edrow"),  # would turn what follows around
        ("half \ud83d", "half \\ud83d"),
        ("line\u2028end", "line\\u2028end"),
        ("été 😀", "été 😀"),
    ],
)
def test_signs_that_a_terminal_would_obey_are_written_out(text: str, shown: str) -> None:
    assert plain(text) == shown


def test_empty_places_are_not_the_current_folder() -> None:
    assert place("a/b") == Path("a/b")
    for empty in ("", "  "):
        with pytest.raises(ArgumentTypeError, match="is empty"):
            place(empty)
        with pytest.raises(ValueError, match="out=: is empty"):
            check_named("out", empty)
    check_named("out", "a")


class Terminal(io.StringIO):
    """A stream that fails, or knows ASCII alone."""

    encoding = "ascii"

    def __init__(self, fails: int = 0) -> None:
        super().__init__()
        self.fails = fails

    def write(self, text: str) -> int:
        if self.fails:
            raise OSError(self.fails, "failed")
        text.encode(self.encoding)
        return super().write(text)


def test_a_terminal_with_fewer_signs_shows_what_it_can() -> None:
    stream = Terminal()
    lasting: Any = Lasting.around(stream)
    lasting.write("100 % of été")
    assert stream.getvalue() == "100 % of \\xe9t\\xe9"
    assert Lasting.around(lasting) is lasting
    assert Lasting.around(None) is None
    assert lasting.getvalue() == stream.getvalue()  # all else is the stream's
    with pytest.raises(OSError, match="failed"):  # a full disk is no lost reader
        Lasting(Terminal(errno.ENOSPC)).write("x")


def test_streams_are_put_back_however_a_command_ends(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr

    def works() -> int:
        assert isinstance(sys.stdout, Lasting)
        return 7

    def stops() -> int:
        raise KeyboardInterrupt

    assert command(works) == 7
    assert command(stops) == 130
    assert (sys.stdout, sys.stderr) == before
    assert capsys.readouterr().err == ""


def test_who_wants_to_see_tracebacks_sees_them(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> int:
        raise ValueError("a mistake")

    monkeypatch.delenv(errors.DEBUG, raising=False)
    assert command(fails) == 2
    monkeypatch.setenv(errors.DEBUG, "1")
    with pytest.raises(ValueError, match="a mistake"):
        command(fails)


PROGRAM = """
import atexit, sys
from lifelong.errors import program
def work():
    atexit.register(print, "others first")
    print("half a line", end="; ")
    {ends}
program(work)
print("not reached")
"""


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        ("sys.exit(0)", 0),
        ("sys.exit()", 0),
        ("sys.exit(3)", 3),
        ("sys.exit('why')", 1),
        ("raise KeyError", 1),
    ],
)
def test_a_program_ends_at_once_and_loses_nothing(ends: str, status: int) -> None:
    script = PROGRAM.format(ends=ends)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (status, "half a line; others first\n")


def test_a_program_that_comes_back_has_status_0() -> None:
    script = PROGRAM.format(ends="pass")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "half a line; not reached\nothers first\n")


def test_joblib_without_processes_does_not_delay_the_end() -> None:
    """Taking PyTorch apart took 1.4 s more of every run that asked joblib for the cores."""
    script = """
import joblib
from lifelong.errors import program
class Kept:
    def __del__(self):
        print("taken apart", flush=True)
kept = Kept()
program(lambda: print(joblib.cpu_count() > 0))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def test_where_joblib_has_processes_all_is_taken_apart() -> None:
    """Else their semaphores would be left over, with a warning."""
    ends = "import joblib; print(joblib.Parallel(2)(joblib.delayed(abs)(n) for n in (-1, -2)))"
    script = PROGRAM.format(ends=ends)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "half a line; [1, 2]\nnot reached\nothers first\n"


@pytest.mark.parametrize("command", ["lifelong.run", "lifelong.cli run"])
def test_a_sweep_of_which_a_run_failed_has_status_1(command: str, tmp_path: Path) -> None:
    """In a process of its own, which ends at once."""
    words = ["strategy=finetune", "lr=0.01,1e30", "data=digits", "tasks=1", "epochs=1"]
    words += ["optimizer=sgd", "logger=none", f"paths.output_dir={tmp_path / 'sweep'}"]
    call = [sys.executable, "-m", *command.split(), "-m", *words]
    done = subprocess.run(call, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "1 runs finished, 1 failed" in done.stdout
