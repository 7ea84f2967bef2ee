"""mini-ImageNet (Vinyals et al. 2016, classes of Ravi & Larochelle 2017): 84 x 84, 100 classes."""

from __future__ import annotations

from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from lifelong.data.sources.archive import DAMAGED
from lifelong.data.sources.decoding import pixels
from lifelong.data.sources.pickled import unpickle
from lifelong.data.sources.places import Place, find
from lifelong.data.sources.source import Source
from lifelong.data.sources.tree import open_tree

SHAPE = (3, 84, 84)
PARTS = ("train", "test", "val")
PICKLE = "mini-imagenet-cache-{}.pkl"


def mini_imagenet(data_dir: str | Path, *, test: int = 120) -> Source:
    """All 100 classes of mini-ImageNet, 600 images each, whatever part they were published in.

    Looks in `data_dir`, there also in the folder `mini_imagenet`, for the three pickles
    mini-imagenet-cache-{train,val,test}.pkl, which are read without running code; for an image
    folder `mini_imagenet` or `mini_imagenet.zip` with `<part>/<wnid>/*.jpg`, the part being train,
    val or test; and for a copy prepared earlier. Classes are named by their WordNet ids and sorted.

    Args:
        data_dir: folder of the data sets.
        test: so many last images of each class, by file name, are test images; a class that has
            fewer than five times as many gives a fifth.

    Raises:
        ValueError: nothing found, or unreadable files.
    """
    if test < 1:
        raise ValueError(f"data.source.test={test}: give a whole number, 1 or more")
    key = f"mini_imagenet-{test}"
    first = PICKLE.format("train")
    places = [
        *(
            Place(path, key, partial(_pickles, test), tuple(map(PICKLE.format, PARTS)))
            for path in (first, f"mini_imagenet/{first}")
        ),
        *(
            Place(path, key, partial(_folder, test))
            for path in ("mini_imagenet", "mini_imagenet.zip")
        ),
    ]
    address = "https://github.com/yaoyao-liu/mini-imagenet-tools (to be made by hand)"
    return find("mini_imagenet", data_dir, places, address=address)


def _pickles(test: int, first: Path) -> Source:
    classes: dict[str, NDArray[np.uint8]] = {}
    for part in PARTS:
        path = first.with_name(PICKLE.format(part))
        if not path.exists():
            raise ValueError(f"{path} is missing; all three parts are needed")
        try:
            content: dict[str, Any] = unpickle(path.read_bytes())
            images = np.asarray(content["image_data"], dtype=np.uint8).reshape(-1, 84, 84, 3)
            for name, rows in content["class_dict"].items():
                classes[str(name)] = images[np.asarray(rows, dtype=np.int64)].transpose(0, 3, 1, 2)
        except (KeyError, ValueError, TypeError, IndexError, *DAMAGED) as error:
            raise ValueError(f"{path}: not a readable pickle ({error}); fetch it again") from None
    return _source(classes, test, first.parent.name)


def _folder(test: int, path: Path) -> Source:
    tree = open_tree(path)
    files: dict[str, list[PurePosixPath]] = {}
    for file in tree.paths:
        if len(file.parts) == 3 and file.parts[0] in PARTS:
            files.setdefault(file.parts[1], []).append(file)
    if not files:
        raise ValueError(f"{path}: holds no images {{train,val,test}}/<wnid>/*.jpg")
    count = sum(len(found) for found in files.values())
    ordered = [file for found in files.values() for file in sorted(found, key=lambda f: f.name)]
    images = np.empty((count, *SHAPE), dtype=np.uint8)
    for row, file in enumerate(track(ordered, "mini_imagenet: images")):
        images[row] = pixels(tree.read(file), SHAPE, f"{path}: {file}")
    ends = np.cumsum([len(found) for found in files.values()])[:-1]
    return _source(dict(zip(files, np.split(images, ends), strict=True)), test, path.name)


def _source(classes: dict[str, NDArray[np.uint8]], test: int, origin: str) -> Source:
    names = sorted(classes)
    cuts = [len(classes[n]) - min(test, len(classes[n]) // 5) for n in names]
    train = [classes[name][:cut] for name, cut in zip(names, cuts, strict=True)]
    tested = [classes[name][cut:] for name, cut in zip(names, cuts, strict=True)]

    def labels(parts: list[NDArray[np.uint8]]) -> NDArray[np.int64]:
        return np.repeat(np.arange(len(names)), [len(part) for part in parts])

    return Source(
        "mini_imagenet", np.concatenate(train), labels(train), np.concatenate(tested),
        labels(tested), tuple(names), origin,
    )  # fmt: skip
