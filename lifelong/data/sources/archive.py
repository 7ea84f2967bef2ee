"""Official archives: a tar file, or the folder that it unpacks to."""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Callable, Iterator
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


def members(path: Path, ending: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file of that ending, in the order of the archive or of the names.

    Args:
        path: a tar file, or the unpacked folder.
        ending: such as ".png".

    Raises:
        ValueError: a damaged archive.
    """
    if path.is_dir():
        for file in sorted(path.rglob(f"*{ending}")):
            yield file.relative_to(path).as_posix(), file.read_bytes()
        return
    try:
        with tarfile.open(path) as archive:
            for entry in archive:
                file_in = archive.extractfile(entry) if entry.name.endswith(ending) else None
                if file_in is not None:
                    yield entry.name, file_in.read()
    except (tarfile.TarError, *DAMAGED) as error:
        raise ValueError(f"{path}: not a readable archive ({error}); fetch it again") from None


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file.read()
