"""Folders that one process has to itself, and what killed ones left in them."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from lifelong.errors import Busy

OURS = re.compile(r"\..+\.(\d+)\.tmp")  # a half-written file of `replacing`
LEFT = 3600  # seconds after which one is left over, whose process is not on this machine
NOTED = "multirun.yaml"  # in which Hydra notes its own settings
LOCK = ".running"  # in a folder, while a process works in it


def remove_leftovers(folder: Path, alone: bool = False) -> None:
    """Removes what killed processes left half written.

    Args:
        folder: where.
        alone: whether nobody else writes there; else files go that are an hour old and whose
            process is not on this machine.
    """
    for path in folder.glob(".*.tmp"):
        found = OURS.fullmatch(path.name)
        with suppress(OSError):
            if found and (alone or _is_left(path, int(found[1]))):
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _is_left(path: Path, process: int) -> bool:
    return not _lives(process) and time.time() - path.stat().st_mtime > LEFT


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


def absent(path: Path) -> list[Path]:
    """The path and those of its parents that are not there, the deepest first."""
    return [place for place in (path, *path.parents) if not os.path.lexists(place)]


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder is this process's own while the block runs; a process that is killed lets it go.

    Where the file system knows no locks, or nothing can be written, nothing is held.

    Raises:
        ValueError: another process holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with in_turn(folder / LOCK):
        yield


@contextmanager
def in_turn(path: Path, wait: Callable[[str], Any] | None = None) -> Iterator[None]:
    """The block runs when no other process is in one of the same lock file, see `held`.

    Args:
        path: of the lock file, which is there as long as somebody is in the block.
        wait: called with who is in it, if somebody is, before that one's end is waited for; None
            waits for nobody.

    Raises:
        ValueError: another process is in it, and is not waited for.
    """
    new = absent(path.parent)
    file = _lock(path, wait)
    while file and not _is_at(file, path):  # who had locked it has removed it meanwhile
        file.close()
        file = _lock(path, wait and _quietly)
    if file is None:
        yield
        return
    with file:
        try:
            with suppress(OSError):  # of a full disk
                file.truncate(0)
                file.write(f"process {os.getpid()} on {platform.node()}")
                file.flush()
            yield
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)
                for place in new:  # where nothing was written
                    place.rmdir()


def _quietly(who: str) -> None:
    """In the place of a wait that has been told."""


def _lock(path: Path, wait: Callable[[str], Any] | None) -> TextIO | None:
    """The file, locked and open; None where nothing can be written, and so nobody is at work."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = path.open("a", encoding="utf-8")
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.EACCES):
            raise
        return None
    busy = _flock(file, at_once=True)
    if busy:
        who = "another process"
        with suppress(OSError):
            who = path.read_text(encoding="utf-8", errors="replace").strip() or who
        if wait is None:
            file.close()
            raise Busy(f"{path.parent}: {who} is at work in it; wait for its end")
        wait(who)
        _flock(file)
    return file


def _flock(file: TextIO, at_once: bool = False) -> bool:
    """Locks a file where locks are known; tells whether another process has it locked."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | (fcntl.LOCK_NB if at_once else 0))
    except BlockingIOError:
        return True
    except (ImportError, OSError):  # not on this system, not on this file system
        return False
    return False


def _is_at(file: TextIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


@contextmanager
def cleared(new: Sequence[Path]) -> Iterator[None]:
    """Leaves no trace of what was refused, in folders that were made for it."""
    try:
        yield
    finally:
        for folder in new:
            with suppress(OSError):
                if [path.name for path in folder.iterdir()] == [NOTED]:
                    (folder / NOTED).unlink()  # Hydra's, of a sweep that it then refused
                folder.rmdir()
