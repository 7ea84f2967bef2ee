"""Files that are written whole or not at all, with checksums."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lifelong.storage.locks import absent

SEAL = "seal"  # in JSON files whose content has a checksum


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
    except Exception as error:
        disk = _of_disk(error)
        if disk is None:
            raise
        if disk.filename in (None, str(temporary)):
            disk.filename = str(path)
        raise disk from None
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Refuses a path that could not be written when there is something to write.

    Raises:
        OSError: why not.
    """
    new = absent(path.parent)
    with suppress(_Tried), replacing(path) as temporary:
        temporary.touch()
        raise _Tried
    for place in new:
        place.rmdir()


class _Tried(Exception):
    """Ends the block in which a file was to be replaced."""


@contextmanager
def appearing(folder: Path) -> Iterator[Path]:
    """Gives a folder beside `folder`, which takes its name when the block ends well, or goes."""
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    new = absent(folder.parent)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        for place in new:
            with suppress(OSError):
                place.rmdir()
        raise


def _of_disk(error: BaseException | None) -> OSError | None:
    """What the file system said, if that began it; some writers raise something else after it."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def read_json(path: Path, keys: Iterable[str] = ()) -> dict[str, Any]:
    """The object in a JSON file; what does not fit its seal is refused, see `sealed`.

    Args:
        path: of the file.
        keys: that it must have.

    Raises:
        ValueError: a file that is damaged or of something else.
        OSError: none that can be read.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: is damaged, or of something else (it holds no object)")
    if SEAL in found and found[SEAL] != seal(found):
        raise ValueError(f"{path}: is damaged (its checksum is not that of its content)")
    missing = sorted(set(keys) - found.keys())
    if missing:
        raise ValueError(f"{path}: is damaged, or of something else ({missing[0]} is not there)")
    return found


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


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
    write_text(path, _lines(content) + "\n")


def _lines(content: Any, depth: int = 3, margin: str = "") -> str:
    """JSON with a line for each item, down to such a depth; lists of numbers stand in one.

    What lies deeper is left to the encoder in C, which knows no lines: the one in Python, which
    does, takes a second for what a thousand tasks have to tell.
    """
    if depth and isinstance(content, dict) and all(isinstance(key, str) for key in content):
        ends, names = "{}", [f"{json.dumps(key)}: " for key in content]
        values = list(content.values())
    elif depth and isinstance(content, list) and any(isinstance(x, dict | list) for x in content):
        ends, names, values = "[]", [""] * len(content), content
    else:
        return json.dumps(content, allow_nan=False)
    inner = margin + " "
    items = ",\n".join(
        f"{inner}{name}{_lines(value, depth - 1, inner)}"
        for name, value in zip(names, values, strict=True)
    )
    return f"{ends[0]}\n{items}\n{margin}{ends[1]}" if items else ends


def known(value: Any, name: str = "") -> Any:
    """A value as JSON can say it, which has neither NaN nor infinity: None in their places.

    Tensors and arrays are numbers, or lists of them.

    Args:
        value: to be said.
        name: of it, for the message.

    Raises:
        ValueError: it is none of that.
    """
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, dict):
        return {key: known(each, f"{name}.{key}".strip(".")) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [known(each, name) for each in value]
    if not isinstance(value, bool | int | float | str | None):
        raise ValueError(
            f"{name}: results.json cannot say a {type(value).__name__}; give numbers or texts, in "
            "lists and dicts"
        )
    return None if isinstance(value, float) and not math.isfinite(value) else value


def seal(content: dict[str, Any]) -> int:
    """A checksum of an object of plain values, but for what it says under `seal` itself."""
    rest = {key: value for key, value in content.items() if key != SEAL}
    return zlib.crc32(json.dumps(rest, sort_keys=True).encode())


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """The object with its checksum under `seal`; `read_json` refuses it when they do not fit."""
    plain: dict[str, Any] = json.loads(json.dumps(content, allow_nan=False))  # as it is read again
    return plain | {SEAL: seal(plain)}


def write_with(path: Path, write: Callable[[Path], Any]) -> None:
    """Lets `write(temporary)` make the file, then renames it to `path`."""
    with replacing(path) as temporary:
        write(temporary)


def load(path: Path) -> Any:
    """What a file in PyTorch's format holds, on the CPU; of its objects none is run.

    PyTorch itself does not compare the checksums that are in the file.

    Raises:
        ValueError: a damaged file.
        Exception: of many kinds, for a file of something else.
    """
    import torch

    if not zipfile.is_zipfile(path):
        return torch.load(path, map_location="cpu", weights_only=True)
    with ThreadPoolExecutor(1) as beside:
        compared = beside.submit(_compare_checksums, path)
        try:
            found = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:
            compared.result()
            raise
        compared.result()
    return found


def _compare_checksums(path: Path) -> None:
    """As `ZipFile.testzip`, quicker for parts that are not compressed: one buffer, no copies.

    Raises:
        ValueError: a part whose bytes are not those that were written.
    """
    buffer = memoryview(bytearray(1 << 20))
    with zipfile.ZipFile(path) as parts, path.open("rb", buffering=0) as file:
        for part in parts.infolist():
            if part.compress_type != zipfile.ZIP_STORED:
                parts.read(part)
                continue
            file.seek(part.header_offset + 26)
            name, extra = struct.unpack("<HH", file.read(4))
            file.seek(name + extra, os.SEEK_CUR)
            left, found = part.file_size, 0
            while left and (read := file.readinto(buffer[: min(left, len(buffer))])):
                found, left = zlib.crc32(buffer[:read], found), left - read
            if left or found != part.CRC:
                raise ValueError(f"{part.filename} in it is damaged")


def save(path: Path, content: Any) -> None:
    """Writes `content` to `path` atomically, in PyTorch's format."""
    import torch

    # A signal that ends the run, come while PyTorch writes to a file, would be lost in its C++.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(buffer.getbuffer())


def load_error(error: Exception) -> str:
    """What is wrong with a file, in one line; of PyTorch's long texts the line that says it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    ours_ = [line for number, line in enumerate(lines) if "WeightsUnpickler" in lines[number - 1]]
    return (ours_ or lines or [type(error).__name__])[0]
