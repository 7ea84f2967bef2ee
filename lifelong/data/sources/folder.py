"""Image folders and zip files of them: `train/<class>/*` and `test/<class>/*`, or `<class>/*`."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from rich.progress import track

from lifelong.data.sources.archive import DAMAGED
from lifelong.data.sources.source import Source, prepared

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")


class Tree(Protocol):
    """Image files by their path within a folder or an archive."""

    paths: list[PurePosixPath]

    def read(self, path: PurePosixPath) -> bytes: ...


class _Folder:
    def __init__(self, root: Path) -> None:
        self.root = root
        files = (path.relative_to(root) for path in sorted(root.rglob("*")) if path.is_file())
        self.paths = [PurePosixPath(path) for path in files if path.suffix.lower() in ENDINGS]

    def read(self, path: PurePosixPath) -> bytes:
        return (self.root / path).read_bytes()


class _Zip:
    """Files are read in place; nothing is unpacked."""

    def __init__(self, path: Path) -> None:
        try:
            self.archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise ValueError(f"{path}: not a readable zip file ({error})") from None
        names = (name for name in sorted(self.archive.namelist()) if not name.endswith("/"))
        self.names = {PurePosixPath(name): name for name in names}
        self.names = {p: n for p, n in self.names.items() if p.suffix.lower() in ENDINGS}
        while self.names and _wrapped(list(self.names)):
            self.names = {PurePosixPath(*p.parts[1:]): n for p, n in self.names.items()}
        self.paths = list(self.names)

    def read(self, path: PurePosixPath) -> bytes:
        try:
            return self.archive.read(self.names[path])
        except (*DAMAGED, NotImplementedError, RuntimeError) as error:
            raise ValueError(f"{self.archive.filename}: {path} is damaged ({error})") from None


def _wrapped(paths: Sequence[PurePosixPath]) -> bool:
    """Whether all files lie in one folder above the classes."""
    tops = {path.parts[0] for path in paths}
    return len(tops) == 1 and min(len(path.parts) for path in paths) > 2 and tops != {"train"}


def open_tree(path: Path) -> Tree:
    """The image files below a folder, or in a zip file.

    Raises:
        ValueError: a file of another kind, or an unreadable one.
    """
    if path.is_dir():
        return _Folder(path)
    if path.suffix.lower() != ".zip":
        raise ValueError(f"{path}: neither a folder nor a zip file")
    return _Zip(path)


def image_folder(
    root: str | Path,
    *,
    shape: Sequence[int],
    cache: str | Path,
    name: str | None = None,
    test: float = 0.2,
    crop: bool = False,
    option: str = "data.root",
) -> Source:
    """The images below `root`, a folder or a zip file; classes are numbered by sorted name.

    Args:
        root: has `train/<class>/*` and `test/<class>/*` (or `val/`), or `<class>/*`.
        shape: (c, h, w): images of another size are resized, bilinear with anti-aliasing.
        cache: folder whose `.cache` holds the prepared copy.
        name: of the source; the name of `root` by default.
        test: share of each class, drawn evenly by file name, where there is no test part.
        crop: keep the aspect ratio: cut what is too long on both sides evenly, then resize.
        option: what errors call `root`.

    Raises:
        ValueError: no such folder, no images, or an unreadable archive or image.
    """
    path = Path(root).expanduser()
    if not path.exists():
        raise ValueError(
            f"{option}={root}: no such folder or zip file; give one that holds "
            "train/<class>/*.png and test/<class>/*.png, or <class>/*.png"
        )
    called = name or path.stem
    key = f"folder-{image_key(called, shape, test)}"  # apart from those of official data sets
    key += "-crop" * crop
    return prepared(key, path, Path(cache), lambda: read_images(called, path, shape, test, crop))


def image_key(name: str, shape: Sequence[int], test: float = 0.2) -> str:
    """Of the prepared copy of what `read_images` reads."""
    return f"{name}-{'x'.join(map(str, shape))}-{test}"


def read_images(
    name: str, path: Path, shape: Sequence[int], test: float = 0.2, crop: bool = False
) -> Source:
    """The images of `image_folder`, without a prepared copy."""
    tree = open_tree(path)
    parts = _parts(tree.paths, path, test)
    classes = sorted({file.parts[-2] for files in parts for file in files})
    number = {label: index for index, label in enumerate(classes)}

    def load(part: str, files: Sequence[PurePosixPath]) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        images = np.empty((len(files), *shape), dtype=np.uint8)
        for row, file in enumerate(track(files, f"{name}: {part} images", disable=not files)):
            images[row] = pixels(tree.read(file), shape, f"{path}: {file}", crop)
        labels = np.array([number[file.parts[-2]] for file in files], dtype=np.int64)
        return images, labels

    train, tested = (load(*part) for part in zip(("training", "test"), parts, strict=True))
    return Source(name, *train, *tested, tuple(classes), path.name)


def _parts(
    paths: Sequence[PurePosixPath], root: Path, test: float
) -> tuple[list[PurePosixPath], list[PurePosixPath]]:
    """Training and test files."""
    if not paths:
        raise ValueError(f"{root}: holds no images ({', '.join(ENDINGS)})")
    train = [path for path in paths if path.parts[0] == "train" and len(path.parts) > 2]
    tested = [path for path in paths if path.parts[0] in ("test", "val") and len(path.parts) > 2]
    if train and tested:
        return train, tested
    if not all(len(path.parts) == 2 for path in paths):
        raise ValueError(
            f"{root}: found neither train/<class>/* with test/<class>/* nor <class>/*; "
            f"the first file is {paths[0]}"
        )
    if not 0 < test < 1:
        raise ValueError(f"data.test={test}: give a share between 0 and 1")
    return _divided(paths, test)


def _divided(
    paths: Sequence[PurePosixPath], share: float
) -> tuple[list[PurePosixPath], list[PurePosixPath]]:
    train: list[PurePosixPath] = []
    test: list[PurePosixPath] = []
    for label in sorted({path.parts[0] for path in paths}):
        files = [path for path in paths if path.parts[0] == label]
        for row, path in enumerate(files):
            (test if int((row + 1) * share) > int(row * share) else train).append(path)
    return train, test


def pixels(
    content: bytes, shape: Sequence[int], name: str, crop: bool = False
) -> NDArray[np.uint8]:
    """An image file brought to `shape` (c, h, w), bilinear with anti-aliasing; see `crop` above."""
    channels, height, width = shape
    try:
        with Image.open(io.BytesIO(content)) as file:
            image = file.convert("L" if channels == 1 else "RGB")
            if image.size != (width, height):
                bring = ImageOps.fit if crop else Image.Image.resize
                image = bring(image, (width, height), Image.Resampling.BILINEAR)
            found = np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{name} is not a readable image ({error})") from None
    return found.reshape(height, width, channels).transpose(2, 0, 1)
