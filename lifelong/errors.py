"""How every command begins and ends: whatever goes wrong is one line and an exit status.

0: done; 1: a run failed; 2: a mistake in what was given, or damage in what was read; 3: images that
are not here; 4: a folder in which another process is at work; 128 + the number of a signal.
LIFELONG_FULL_ERROR=1, or Hydra's HYDRA_FULL_ERROR=1, shows tracebacks instead.
"""

from __future__ import annotations

import atexit
import errno
import os
import re
import sys
import unicodedata
from argparse import ArgumentTypeError
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from hydra.errors import HydraException
from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

DEBUG = "LIFELONG_FULL_ERROR"
EMPTY = "is empty (a shell variable that is not set?); give a folder"
_LOST = (errno.EPIPE, errno.EIO)  # nobody reads any more: a closed pipe, a terminal that is gone
_POOL = "joblib.externals.loky.reusable_executor"  # where joblib keeps its processes
_NO_MEMORY = ("out of memory", "not enough memory", "can't allocate memory")
_ADVICE = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some space",
    errno.EFBIG: "files of that size are not allowed there",
    errno.EACCES: "give another folder, or the permission",
    errno.EPERM: "give another folder, or the permission",
    errno.EROFS: "give another folder",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}


class Missing(ValueError):
    """Images that are not here, and could not be fetched."""

    status = 3


class Busy(ValueError):
    """Another process is at work where this one was to be."""

    status = 4


def status_of(error: BaseException) -> int:
    """The exit status of a mistake."""
    found: int = getattr(root(error), "status", 2) if is_mistake(error) else 2
    return found


def command(work: Callable[[], int]) -> int:
    """Carries out a command and gives its exit status; its mistakes are told in one line."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (Lasting.around(stream) for stream in before)
    try:
        return work()
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if debugging():
            raise
        if is_mistake(error):
            print(f"error: {reason(error)}", file=sys.stderr)
            return status_of(error)
        print(f"failed: {reason(error)}; {DEBUG}=1 shows where", file=sys.stderr)
        return 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


def program(work: Callable[[], None]) -> None:
    """Runs a command that has the process for itself, which ends at once when it is through.

    Taking all of PyTorch's objects apart, one by one, takes one to two seconds. What other modules
    do at exit is done first: the handler that is registered first is called last. Where joblib has
    started processes, all is taken apart as usual, and they with it.
    """
    status = [1]  # unless the command says otherwise

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # a closed pipe, of which the command has told
                stream.flush()
        if getattr(sys.modules.get(_POOL), "_executor", None) is None:
            os._exit(status[0])

    atexit.register(leave)
    try:
        work()
        status[0] = 0
    except SystemExit as ended:
        status[0] = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        raise


def debugging() -> bool:
    """Whether somebody wants to see tracebacks."""
    return os.environ.get(DEBUG) == "1"


def misused(message: str) -> NoReturn:
    """Stands for `ArgumentParser.error`, which would print all of the usage."""
    raise ValueError(f"{message}; --help lists all")


def place(text: str) -> Path:
    """A path of a command line, where an empty one would mean the current folder.

    Raises:
        ArgumentTypeError: an empty text.
    """
    if not text.strip():
        raise ArgumentTypeError(EMPTY)
    return Path(text)


def check_named(option: str, text: str) -> None:
    """Refuses an empty path, which Python takes for the current folder.

    Raises:
        ValueError: the option.
    """
    if not text.strip():
        raise ValueError(f"{option}=: {EMPTY}")


def is_mistake(error: BaseException) -> bool:
    """Whether an error tells of what was given or read, and not of a fault of ours."""
    kinds = (ValueError, OSError, MemoryError, HydraException, OmegaConfBaseException)
    error = root(error)
    return isinstance(error, kinds) or any(words in str(error) for words in _NO_MEMORY)


def root(error: BaseException) -> BaseException:
    """The error that started it all; building objects wraps others around it."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def plain(text: str) -> str:
    r"""A text without signs that a terminal would obey, such as a file name may have.

    >>> plain("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    return "".join(_escaped(sign) if _commands(sign) else sign for sign in text)


def _commands(sign: str) -> bool:
    """Whether a sign controls a terminal or the order of the others, or is half of one."""
    if unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp"):
        return sign not in "\n\t"
    return "\u202a" <= sign <= "\u202e" or "\u2066" <= sign <= "\u2069"


def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode()


def reason(error: BaseException) -> str:
    """An error in one line: what, where, and what would do."""
    return plain(_reason(root(error)))


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    if missing := re.search(r"[Mm]issing mandatory value: ([\w.]+)", text):
        return f"{missing[1]} is not given; lifelong run --cfg job shows where it stands"
    if isinstance(error, InterpolationKeyError):
        return f"{error.full_key}: {text.partition(' full_key')[0]}; name an option that is there"
    if isinstance(error, OSError) and error.strerror:
        advice = _ADVICE.get(error.errno or 0)
        where = "" if error.filename is None else f"{error.filename}: "
        return f"{where}{error.strerror}" + (f"; {advice}" if advice else "")
    if isinstance(error, MemoryError) or any(words in text for words in _NO_MEMORY):
        wanted = re.search(r"allocate [\d.]+ \w+", text)
        where = "CUDA out of memory" if "CUDA" in text else "out of memory"
        tried = f" (tried to {wanted[0]})" if wanted else ""
        return f"{where}{tried}; give a smaller batch_size, memory or network"
    if isinstance(error, ModuleNotFoundError) and error.name:
        return (
            f"{error.name}: there is no such module; it is looked for among what is installed, on "
            "PYTHONPATH and in the folder that the command is called in"
        )
    if isinstance(error, ValueError):
        return " ".join(str(error).splitlines())
    return f"{type(error).__name__}: {text}"


class Lasting:
    """A text stream whose loss is no error: what is written after it goes nowhere.

    Args:
        stream: such as sys.stdout.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    @classmethod
    def around(cls, stream: Any) -> Any:
        """The stream, made lasting once; None stays None."""
        return stream if stream is None or isinstance(stream, cls) else cls(stream)

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except UnicodeEncodeError:  # of a terminal that knows fewer signs
            known = self._stream.encoding or "ascii"
            return int(self._stream.write(text.encode(known, "backslashreplace").decode(known)))
        except OSError as error:
            self._lose(error)
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def _lose(self, error: OSError) -> None:
        if error.errno not in _LOST:
            raise error
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
