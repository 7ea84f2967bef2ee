"""CUB-200-2011 (Wah et al. 2011): 200 kinds of birds."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from rich.progress import track

from lifelong.data.sources.archive import members, read_archive
from lifelong.data.sources.decoding import FORMATS
from lifelong.data.sources.places import Place, find
from lifelong.data.sources.source import Source

FOLDER = "CUB_200_2011"
ADDRESS = "https://www.vision.caltech.edu/datasets/cub_200_2011/"


class _Lists(NamedTuple):
    images: dict[str, int]  # number by path below images/
    labels: dict[int, int]
    train: dict[int, bool]
    classes: tuple[str, ...]


def cub(data_dir: str | Path, *, shape: Sequence[int] = (3, 224, 224)) -> Source:
    """CUB-200-2011: 5,994 + 5,794 images in the official division.

    Looks in `data_dir` for the unpacked folder `CUB_200_2011` (images/<class>/*.jpg, images.txt,
    image_class_labels.txt, train_test_split.txt, classes.txt), for the official archive
    `CUB_200_2011.tgz`, and for a copy prepared earlier.

    Args:
        data_dir: folder of the data sets.
        shape: (c, h, w) to which images are resized whatever their aspect ratio, bilinear without
            anti-aliasing, as in the released programs of A-GEM and TAG.

    Raises:
        ValueError: nothing found, an unreadable archive, a missing or unreadable image.
    """
    if len(shape) != 3:
        raise ValueError(f"data.shape={list(shape)}: give [channels, height, width]")
    key = f"cub-{'x'.join(map(str, shape))}"
    read = partial(_read, shape)
    places = [Place(path, key, read) for path in (FOLDER, f"{FOLDER}.tgz", f"{FOLDER}.tar.gz")]
    return find("cub", data_dir, places, address=f"{ADDRESS} (to be fetched by hand)")


def _read(shape: Sequence[int], path: Path) -> Source:
    lists = read_archive(path, FOLDER, _parse)
    numbers = sorted(lists.images.values())
    rows = {number: row for row, number in enumerate(numbers)}
    images = np.empty((len(numbers), *shape), dtype=np.uint8)
    missing = set(numbers)
    for name, content in track(members(path, ".jpg"), "cub: images", total=len(numbers)):
        number = lists.images.get("/".join(Path(name).parts[-2:]))
        if number is not None:
            images[rows[number]] = _pixels(content, shape, f"{path}: {name}")
            missing.discard(number)
    if missing:
        names = {number: name for name, number in lists.images.items()}
        raise ValueError(f"{path}: images/{names[min(missing)]} is missing; fetch the set again")
    labels = np.array([lists.labels[number] for number in numbers], dtype=np.int64)
    train = np.array([lists.train[number] for number in numbers], dtype=bool)
    return Source(
        "cub", images[train], labels[train], images[~train], labels[~train], lists.classes,
        path.name,
    )  # fmt: skip


def _parse(read: Callable[[str], bytes]) -> _Lists:
    def pairs(name: str) -> list[list[str]]:
        return [line.split(maxsplit=1) for line in read(name).decode().splitlines() if line]

    return _Lists(
        {path: int(number) for number, path in pairs("images.txt")},
        {int(number): int(label) - 1 for number, label in pairs("image_class_labels.txt")},
        {int(number): flag == "1" for number, flag in pairs("train_test_split.txt")},
        tuple(name for _, name in pairs("classes.txt")),
    )


def _pixels(content: bytes, shape: Sequence[int], name: str) -> NDArray[np.uint8]:
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as file:
            image = np.array(file.convert("L" if shape[0] == 1 else "RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{name} is not a readable image ({error})") from None
    x = torch.from_numpy(image).reshape(*image.shape[:2], -1).permute(2, 0, 1)[None].float()
    resized = F.interpolate(x, tuple(shape[1:]), mode="bilinear")[0]
    return resized.round().clamp(0, 255).byte().numpy()
