"""The image files below a folder or in a zip file, without what systems and programs leave there.

Passed over, and counted: hidden files and folders (a name that begins with a dot, such as macOS's
`._x.png` or Jupyter's `.ipynb_checkpoints`), what operating systems, network disks and archivers
leave, and files that are no images by their ending. Links are followed, but not round in circles;
an image that is met twice so is refused. What has the ending of an image is read, or refused by
name.
"""

from __future__ import annotations

import os
import stat
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from lifelong.data.sources.archive import DAMAGED, check_name, check_size

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
# Made by archivers, Synology, QNAP, NetApp, Windows, Linux and cameras; in lower case.
SYSTEM = {
    "__macosx", "@eadir", "#recycle", "@recycle", "~snapshot", "$recycle.bin", "recycler",
    "system volume information", "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r",
    "__pycache__",
}  # fmt: skip
HIDDEN, OF_SYSTEM, NO_IMAGE = "hidden", "of the system", "no images by their ending"


class Tree(Protocol):
    """Image files by their path within a folder or an archive.

    Attributes:
        paths: in order; names as the file system or the archive has them.
        passed_over: how many files, by reason.
    """

    paths: list[PurePosixPath]
    passed_over: Counter[str]

    def read(self, path: PurePosixPath) -> bytes: ...


def open_tree(path: Path) -> Tree:
    """The image files below a folder, or in a zip file.

    Raises:
        ValueError: a file of another kind, an unreadable or encrypted one; a link to nothing, a
            file under two names.
    """
    if path.is_dir():
        return _Folder(path)
    if path.suffix.lower() != ".zip":
        raise ValueError(f"{path}: neither a folder nor a zip file")
    return _Zip(path)


class _Folder:
    def __init__(self, root: Path) -> None:
        self.root, self.passed_over = root, Counter[str]()
        self.paths = sorted(self._walked())
        known: dict[tuple[int, int], PurePosixPath] = {}
        for path in self.paths:
            device, number = _identity(root / path)
            first = known.setdefault((device, number), path)
            if first is not path and number:  # 0 where a file system has none
                raise ValueError(
                    f"{root / path}: is the same file as {first}; an image belongs to one class "
                    "of one part"
                )

    def _walked(self) -> Iterator[PurePosixPath]:
        for file in walked(self.root):
            reason = _passed(file)
            if reason is None:
                yield file
            else:
                self.passed_over[reason] += 1

    def read(self, path: PurePosixPath) -> bytes:
        try:
            return (self.root / path).read_bytes()
        except OSError as error:
            raise ValueError(f"{self.root / path}: cannot be read ({error.strerror})") from None


class _Zip:
    """Files are read in place; nothing is unpacked."""

    def __init__(self, path: Path) -> None:
        self.passed_over = Counter[str]()
        try:
            self.archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise ValueError(f"{path}: not a readable zip file ({error})") from None
        self.names: dict[PurePosixPath, str] = {}
        for entry in self.archive.infolist():
            if not entry.is_dir():
                check_name(self.archive, entry)
                self._take(path, entry)
        while self.names and _wrapped(list(self.names)):
            self.names = {PurePosixPath(*p.parts[1:]): n for p, n in self.names.items()}
        self.paths = sorted(self.names)

    def _take(self, path: Path, entry: zipfile.ZipInfo) -> None:
        file = PurePosixPath(entry.filename.replace("\\", "/"))  # as old Windows tools write it
        reason = _passed(file)
        if reason is not None:
            self.passed_over[reason] += 1
            return
        if entry.flag_bits & 1:
            raise ValueError(f"{path}: {file} is encrypted; give an archive without a password")
        if file in self.names:
            raise ValueError(f"{path}: holds {file} twice")
        check_size(path, str(file), entry.file_size)
        self.names[file] = entry.filename

    def read(self, path: PurePosixPath) -> bytes:
        try:
            return self.archive.read(self.names[path])
        except (*DAMAGED, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"{self.archive.filename}: {path} is damaged ({error})") from None


def left_by_programs(name: str) -> str | None:
    """Why a name is passed over, whatever it holds; None if it is not."""
    if name.startswith("."):
        return HIDDEN
    return OF_SYSTEM if name.lower() in SYSTEM or name.startswith("~$") else None


def _passed(file: PurePosixPath) -> str | None:
    """Why a file is passed over; None if it is an image."""
    for name in file.parts:
        reason = left_by_programs(name)
        if reason is not None:
            return reason
    return None if file.suffix.lower() in ENDINGS else NO_IMAGE


def walked(root: Path) -> Iterator[PurePosixPath]:
    """All files below a folder, links followed, but none to a folder that they are in.

    Raises:
        ValueError: a folder that cannot be read, unless a system keeps it to itself; a name that is
            no text.
    """

    def refused(error: OSError) -> None:
        inside = Path(error.filename).relative_to(root).parts
        if not any(map(left_by_programs, inside)):
            raise ValueError(f"{error.filename}: cannot be read ({error.strerror})") from None

    around = {str(root): frozenset({_identity(root)})}  # the folders that a folder is in
    for place, folders, files in os.walk(root, followlinks=True, onerror=refused):
        here = PurePosixPath(Path(place).relative_to(root).as_posix())
        for name in (*files, *folders):
            if not _is_text(name):
                raise ValueError(f"{root}: {here / name!r} is no name in UTF-8; give it another")
        yield from (here / name for name in sorted(files))
        folders.sort()
        above = around.pop(place)
        fresh = {name: _identity(Path(place) / name) for name in folders}
        folders[:] = [
            name for name, identity in fresh.items()
            if identity not in above and not _leads_up(Path(place) / name)
        ]  # fmt: skip
        around |= {str(Path(place) / name): above | {fresh[name]} for name in folders}


def _leads_up(folder: Path) -> bool:
    """Whether it is a link to a folder that it lies in."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that are no text
        return False
    return True


def same_text(name: str) -> str:
    """A name as it is compared: é is one letter on one system and two on another."""
    return unicodedata.normalize("NFC", name)


def told(passed_over: Counter[str]) -> str:
    """What was passed over, in words; empty if nothing.

    >>> told(Counter({"hidden": 2, "of the system": 1}))
    '3 files passed over: 2 hidden, 1 of the system'
    """
    files = sum(passed_over.values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(passed_over.items()))
    return f"{files} file{'s' * (files != 1)} passed over: {reasons}" if files else ""


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise ValueError(f"{path}: is no file (a pipe or device)")  # it would be waited for
    return status.st_dev, status.st_ino


def _wrapped(paths: Sequence[PurePosixPath]) -> bool:
    """Whether all files lie in one folder above the classes."""
    tops = {path.parts[0] for path in paths}
    return len(tops) == 1 and min(len(path.parts) for path in paths) > 2 and tops != {"train"}
