"""Image folders and zip files of them: `train/<class>/*` and `test/<class>/*`, or `<class>/*`.

What counts as a file is said in `lifelong.data.sources.tree`, how it is read in
`lifelong.data.sources.decoding`; docs/images.md has the rules in one place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.markup import escape
from rich.progress import track

from lifelong.data.sources.decoding import pixels
from lifelong.data.sources.source import Source, evenly, prepared, room
from lifelong.data.sources.tree import ENDINGS, open_tree, same_text, told
from lifelong.errors import Missing, check_named

PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}  # folders by their names in lower case
BESIDE = "in folders beside the parts"
Files = dict[str, list[PurePosixPath]]  # by part
Test = float | str | None  # a share, a text file, or no image


def image_folder(
    root: str | Path,
    *,
    shape: Sequence[int],
    cache: str | Path,
    name: str | None = None,
    test: Test = 0.2,
    crop: bool = False,
    option: str = "data.root",
) -> Source:
    """The images below `root`, a folder or a zip file; classes are numbered by sorted name.

    Args:
        root: has `train/<class>/*` and `test/<class>/*`, maybe `val/<class>/*`, or `<class>/*`;
            folders in that of a class belong to it.
        shape: (c, h, w): images of another size are resized, bilinear with anti-aliasing.
        cache: folder whose `.cache` holds the prepared copy.
        name: of the source; the name of `root` by default.
        test: where there is no test part: the share of each class, drawn evenly by file name; or a
            text file that names the test images, a path a line, as seen from `root` or from the
            folder above it, further words on a line being of no account; null for none.
        crop: keep the aspect ratio: cut what is too long on both sides evenly, then resize.
        option: what errors call `root`.

    Raises:
        ValueError: no such folder, no images, an unreadable archive or image, a class that a part
            lacks.
    """
    path = Path(root).expanduser()
    check_named(option, str(root))
    if not path.exists():
        raise Missing(
            f"{option}={root}: no such folder or zip file; give one that holds "
            "train/<class>/*.png and test/<class>/*.png, or <class>/*.png"
        )
    called = name or path.stem
    key = f"folder-{image_key(called, shape, test)}"  # apart from those of official data sets
    key += "-crop" * crop
    return prepared(
        key, path, Path(cache), lambda: read_images(called, path, shape, test, crop),
        [_list_of(test, path)] if isinstance(test, str) else [],
    )  # fmt: skip


def image_key(name: str, shape: Sequence[int], test: Test = 0.2) -> str:
    """Of the prepared copy of what `read_images` reads."""
    shown = Path(test).name if isinstance(test, str) else test
    return f"{name}-{'x'.join(map(str, shape))}-{shown}"


def read_images(
    name: str, path: Path, shape: Sequence[int], test: Test = 0.2, crop: bool = False
) -> Source:
    """The images of `image_folder`, without a prepared copy."""
    tree = open_tree(path)
    passed_over = tree.passed_over.copy()
    parts, depth = _parts(tree.paths, path, test, passed_over)
    number = _numbered(parts, depth, path)

    def load(part: str, title: str) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        files = parts[part]
        images = room((len(files), *shape))
        shown = f"{escape(name)}: {title} images"
        for row, file in enumerate(track(files, shown, disable=not files)):
            images[row] = pixels(tree.read(file), shape, f"{path}: {file}", crop)
        labels = [number[same_text(file.parts[depth])] for file in files]
        return images, np.array(labels, dtype=np.int64)

    train, tested, val = load("train", "training"), load("test", "test"), load("val", "validation")
    return Source(name, *train, *tested, tuple(number), path.name, *val, note=told(passed_over))


def _parts(
    paths: Sequence[PurePosixPath], root: Path, test: Test, passed_over: Counter[str]
) -> tuple[Files, int]:
    """The files of each part, and at which place of their paths the class stands."""
    if not paths:
        raise ValueError(f"{root}: holds no images ({', '.join(ENDINGS)})")
    found: Files = {"train": [], "val": [], "test": []}
    for path in paths:
        part = PARTS.get(path.parts[0].lower())
        if part is not None and len(path.parts) > 2:
            found[part].append(path)
    if not found["train"]:
        loose = [path for path in paths if len(path.parts) < 2]
        if loose or found["val"] or found["test"]:
            raise ValueError(
                f"{root}: found neither train/<class>/* with test/<class>/* nor <class>/*; the "
                f"first file is {(loose or paths)[0]}"
            )
        return _divided({**found, "train": list(paths)}, 0, test, root), 0
    _look_beside(paths, root, passed_over)
    if passed_over[BESIDE] and not found["test"] and not found["val"]:
        raise ValueError(
            f"{root}: has a folder train of classes, {passed_over[BESIDE]} images in folders "
            "beside it, and none for testing; if train is a class, give it another name"
        )
    if found["test"] and isinstance(test, str):
        raise ValueError(
            f"data.test={test}: {root} has a folder of test images; leave data.test out, or give a "
            "folder without one"
        )
    return (found if found["test"] else _divided(found, 1, test, root)), 1


def _look_beside(paths: Sequence[PurePosixPath], root: Path, passed_over: Counter[str]) -> None:
    """Counts what lies beside the parts; refuses what lies in one without a class."""
    for path in paths:
        if path.parts[0].lower() not in PARTS:
            passed_over[BESIDE] += 1
        elif len(path.parts) == 2:
            raise ValueError(f"{root}: {path} lies in no class folder of {path.parts[0]}")


def _divided(parts: Files, depth: int, test_images: Test, root: Path) -> Files:
    """The parts, some of the training images being for testing."""
    if test_images is None:
        return parts
    if isinstance(test_images, str):
        return _listed(parts, test_images, root)
    share = test_images
    train: list[PurePosixPath] = []
    test: list[PurePosixPath] = []
    for name, files in _by_class(parts["train"], depth).items():
        held_out = evenly(len(files), share, f"{root}: class {name!r}")
        for path, tests in zip(files, held_out, strict=True):
            (test if tests else train).append(path)
    return {**parts, "train": train, "test": test}


def _list_of(test: str, root: Path) -> Path:
    """A text file: as it stands, or in the folder of the images or the one above."""
    for path in (Path(test).expanduser(), root / test, root.parent / test):
        if path.is_file():
            return path
    raise ValueError(
        f"data.test={test}: no such file, here, in {root} or beside it; give a share, such as 0.2, "
        "or a text file with the path of a test image a line"
    )


def _listed(parts: Files, test: str, root: Path) -> Files:
    """The parts, the images that a text file names being for testing."""
    path = _list_of(test, root)
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"data.test={test}: is no text file ({error})") from None
    known = {same_text(str(file)): file for file in parts["train"]}
    own = same_text(root.name if root.is_dir() else root.stem)
    known |= {f"{own}/{name}": file for name, file in known.items()}
    chosen = set()
    for line in filter(None, map(str.strip, lines)):
        cut = [line.rpartition(sign)[0].strip(" \"'") for sign in (" ", ",", "\t", ";")]
        words = [line, *cut, line.split()[0]]  # a label may follow
        found = [known.get(same_text(_from(root, word))) for word in words]
        file = next(filter(None, found), None)
        if file is None:
            raise ValueError(f"data.test={test}: names {line.split()[0]}, which is not in {root}")
        chosen.add(file)
    if not chosen:
        raise ValueError(f"data.test={test}: names no image")
    train = [file for file in parts["train"] if file not in chosen]
    return {**parts, "train": train, "test": [file for file in parts["train"] if file in chosen]}


def _from(root: Path, word: str) -> str:
    """A path of a list as seen from the folder."""
    word = word.replace("\\", "/").removeprefix("./")
    return word.removeprefix(f"{root.absolute().as_posix()}/")


def _by_class(files: Sequence[PurePosixPath], depth: int) -> Mapping[str, list[PurePosixPath]]:
    found: dict[str, list[PurePosixPath]] = {}
    for file in files:
        found.setdefault(same_text(file.parts[depth]), []).append(file)
    return {name: found[name] for name in sorted(found)}


def _numbered(parts: Files, depth: int, root: Path) -> dict[str, int]:
    """The number of each class, by name; refuses classes that a part lacks or has twice."""
    classes = {part: _by_class(files, depth) for part, files in parts.items() if files}
    every = sorted({name for found in classes.values() for name in found})
    for part, found in classes.items():
        missing = [name for name in every if name not in found]
        if missing:
            more = f", nor have {len(missing) - 1} more classes" if len(missing) > 1 else ""
            raise ValueError(
                f"{root}: class {missing[0]!r} has no images in {part}{more}; every part has all "
                "classes"
            )
        for name, files in found.items():
            spelt = {str(PurePosixPath(*file.parts[: depth + 1])) for file in files}
            if len(spelt) > 1:
                raise ValueError(f"{root}: class {name!r} is there twice: {' and '.join(spelt)}")
    return {name: number for number, name in enumerate(every)}
