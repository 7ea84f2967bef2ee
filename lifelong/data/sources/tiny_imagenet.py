"""Tiny-ImageNet: 200 classes of ImageNet in 64 x 64 (Stanford CS231N)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from rich.progress import track

from lifelong.data.sources.archive import members, read_archive
from lifelong.data.sources.decoding import pixels
from lifelong.data.sources.places import Place, find
from lifelong.data.sources.source import Source

SHAPE = (3, 64, 64)
FOLDER = "tiny-imagenet-200"
ADDRESS = "http://cs231n.stanford.edu/tiny-imagenet-200.zip (to be fetched by hand)"


class _Lists(NamedTuple):
    classes: tuple[str, ...]  # WordNet ids, sorted
    validation: dict[str, str]  # id by name of a validation image


def tiny_imagenet(data_dir: str | Path) -> Source:
    """Tiny-ImageNet: 500 training and 50 test images of each of 200 classes, colour.

    The official validation images are the test images, as the official test images have no
    labels. Classes are named by their WordNet ids and sorted.

    Looks in `data_dir` for the unpacked folder `tiny-imagenet-200` (`train/<id>/images/*.JPEG`,
    `val/images/*.JPEG`, `val/val_annotations.txt`, `wnids.txt`), for the official archive
    `tiny-imagenet-200.zip`, and for a copy prepared earlier.

    Raises:
        ValueError: nothing found, an unreadable archive, or a missing or unreadable image.
    """
    places = [Place(path, "tiny_imagenet", _read) for path in (FOLDER, f"{FOLDER}.zip")]
    return find("tiny_imagenet", data_dir, places, address=ADDRESS)


def _read(path: Path) -> Source:
    lists = read_archive(path, FOLDER, _parse)
    number = {name: row for row, name in enumerate(lists.classes)}
    parts: dict[str, list[tuple[np.ndarray, int]]] = {"train": [], "val": []}
    for name, content in track(members(path, ".JPEG"), "tiny_imagenet: images", total=110_000):
        file = PurePosixPath(name)
        if "train" in file.parts:
            part, label = "train", file.parts[-3]
        elif file.name in lists.validation:
            part, label = "val", lists.validation[file.name]
        else:
            continue
        if label not in number:
            raise ValueError(f"{path}: {name} is of the class {label}, which wnids.txt lacks")
        parts[part].append((pixels(content, SHAPE, f"{path}: {name}"), number[label]))
    missing = len(lists.validation) - len(parts["val"])
    if missing or not parts["train"]:
        raise ValueError(
            f"{path}: {missing} of the validation images are missing, and there are "
            f"{len(parts['train'])} training images; fetch the set again"
        )
    train, val = (
        (np.stack([image for image, _ in part]), np.array([label for _, label in part]))
        for part in parts.values()
    )
    return Source("tiny_imagenet", *train, *val, lists.classes, path.name)


def _parse(read: Callable[[str], bytes]) -> _Lists:
    lines = read("val/val_annotations.txt").decode().splitlines()
    rows = [line.split("\t") for line in lines if line]
    if any(len(row) < 2 for row in rows):
        raise ValueError("val/val_annotations.txt is no table of images and classes")
    return _Lists(
        tuple(sorted(read("wnids.txt").decode().split())), {row[0]: row[1] for row in rows}
    )
