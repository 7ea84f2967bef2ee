"""Files that are either the old one or the new one, never half of it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

OURS = re.compile(r"\..+\.\d+\.tmp")  # a half-written file of `replacing`
LOCK = ".running"  # in a folder, while a process works in it


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`; when the block ends well, it takes the place of `path`.

    The data is on the disk before the name changes, so a crash leaves the old file or the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def absent(path: Path) -> list[Path]:
    """The path and those of its parents that are not there, the deepest first."""
    return [place for place in (path, *path.parents) if not place.exists()]


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """The folder is this process's own while the block runs; a process that is killed lets it go.

    Where the file system knows no locks, nothing is held.

    Raises:
        ValueError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on this system
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{folder}: another process is at work in it; wait for its end"
            ) from None
        except OSError:  # not on this file system
            pass
        try:
            yield
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes `text` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Writes `content` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, content: Any) -> None:
    """Writes `content` to `path` as JSON, atomically. NaN is not JSON: say null."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def write_with(path: Path, write: Callable[[Path], Any]) -> None:
    """Lets `write(temporary)` make the file, then renames it to `path`."""
    with replacing(path) as temporary:
        write(temporary)
