"""Official archives: a tar or zip file, or the folder that it unpacks to."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, TypeVar

# What reading a damaged archive brings up.
DAMAGED = (OSError, EOFError, zlib.error, zipfile.BadZipFile)
LARGEST = 1 << 29  # bytes of an image file that is unpacked
T = TypeVar("T")


def read_archive(path: Path, inside: str, parse: Callable[[Callable[[str], bytes]], T]) -> T:
    """What `parse` makes of an archive; it is handed a function that reads a file by name.

    Files are read in place; nothing is unpacked.

    Args:
        path: a tar or zip file, or the unpacked folder.
        inside: folder within the archive.
        parse: raises ValueError for files that it cannot make sense of.

    Raises:
        ValueError: a missing or damaged file.
    """
    try:
        if path.is_dir():
            return parse(lambda name: (path / name).read_bytes())
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as packed:
                return parse(lambda name: packed.read(f"{inside}/{name}"))
        with tarfile.open(path) as archive:
            found = parse(lambda name: _member(archive, f"{inside}/{name}"))
            _to_end(archive)
            return found
    except (KeyError, FileNotFoundError) as error:
        raise ValueError(f"{path}: {error} is missing; fetch the archive again") from None
    except (ValueError, TypeError, tarfile.TarError, *DAMAGED) as error:
        raise ValueError(f"{path}: not a readable archive ({error}); fetch it again") from None


def chunks(path: Path, inside: str, name: str, size: int) -> Iterator[bytes]:
    """A file of an archive piece by piece, for files that are large; see `read_archive`.

    Args:
        path: a tar file, or the unpacked folder.
        inside: folder within the archive.
        name: of the file.
        size: bytes of a piece; the last may have fewer.

    Raises:
        ValueError: a missing or damaged file.
    """
    try:
        with ExitStack() as stack:
            if path.is_dir():
                file: IO[bytes] = stack.enter_context((path / name).open("rb"))
            else:
                archive = stack.enter_context(tarfile.open(path))
                file = _opened(archive, f"{inside}/{name}")
                stack.callback(_to_end, archive)
            while piece := file.read(size):
                yield piece
    except (KeyError, FileNotFoundError) as error:
        raise ValueError(f"{path}: {error} is missing; fetch the archive again") from None
    except (tarfile.TarError, *DAMAGED) as error:
        raise ValueError(f"{path}: not a readable archive ({error}); fetch it again") from None


def members(path: Path, ending: str) -> Iterator[tuple[str, bytes]]:
    """Name and content of each file of that ending, in the order of the archive or of the names.

    Args:
        path: a tar or zip file, or the unpacked folder.
        ending: such as ".png".

    Raises:
        ValueError: a damaged archive.
    """
    if path.is_dir():
        for file in sorted(path.rglob(f"*{ending}")):
            yield file.relative_to(path).as_posix(), file.read_bytes()
        return
    try:
        yield from (_zipped if path.suffix == ".zip" else _tarred)(path, ending)
    except (tarfile.TarError, *DAMAGED) as error:
        raise ValueError(f"{path}: not a readable archive ({error}); fetch it again") from None


def _zipped(path: Path, ending: str) -> Iterator[tuple[str, bytes]]:
    with zipfile.ZipFile(path) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(ending):
                check_size(path, name, archive.getinfo(name).file_size)
                yield name, archive.read(name)
            else:
                check_name(archive, archive.getinfo(name))


def _tarred(path: Path, ending: str) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for entry in archive:
            file = archive.extractfile(entry) if entry.name.endswith(ending) else None
            if file is not None:
                check_size(path, entry.name, entry.size)
                yield entry.name, file.read()
        _to_end(archive)


def check_size(path: Path, name: str, size: int) -> None:
    """Refuses to unpack what is too large for an image.

    Raises:
        ValueError: the file, and its bytes.
    """
    if size > LARGEST:
        raise ValueError(f"{path}: {name} is larger than any image ({size:,} bytes)")


def check_name(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> None:
    """Refuses an entry whose name, which stands twice, is damaged: it may be read or passed over.

    Raises:
        ValueError: the archive, and the names.
    """
    try:
        archive.open(entry).close()
    except (RuntimeError, NotImplementedError):  # encrypted, or packed in another way
        pass
    except DAMAGED as error:
        raise ValueError(f"{archive.filename}: is damaged ({error})") from None


def _to_end(archive: tarfile.TarFile) -> None:
    """Reads what is left of a compressed stream, whose checksum stands at its end."""
    while archive.fileobj is not None and archive.fileobj.read(1 << 20):
        pass


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    return _opened(archive, name).read()


def _opened(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    file = archive.extractfile(name)
    if file is None:
        raise KeyError(name)
    return file
