"""Official archives: a tar file, or the folder that it unpacks to."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

DAMAGED = (OSError, EOFError, zlib.error)  # what reading a damaged archive brings up
T = TypeVar("T")


def read_archive(path: Path, inside: str, parse: Callable[[Callable[[str], bytes]], T]) -> T:
    """What `parse` makes of an archive; it is handed a function that reads a file by name.

    Files are read in place; nothing is unpacked.

    Args:
        path: a tar file, or the unpacked folder.
        inside: folder within the tar file.
        parse: raises ValueError for files that it cannot make sense of.

    Raises:
        ValueError: a missing or damaged file.
    """
    try:
        if path.is_dir():
            return parse(lambda name: (path / name).read_bytes())
        with tarfile.open(path) as archive:
            return parse(lambda name: _member(archive, f"{inside}/{name}"))
    except (KeyError, FileNotFoundError) as error:
        raise ValueError(f"{path}: {error} is missing; fetch the archive again") from None
    except (ValueError, TypeError, tarfile.TarError, *DAMAGED) as error:
        raise ValueError(f"{path}: not a readable archive ({error}); fetch it again") from None


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file.read()
