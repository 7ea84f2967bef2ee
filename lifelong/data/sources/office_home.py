"""Office-Home (Venkateswara et al., CVPR 2017): 65 kinds of objects in four domains."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from rich.progress import track

from lifelong.data.sources.decoding import pixels
from lifelong.data.sources.places import Place, find
from lifelong.data.sources.source import Source
from lifelong.data.sources.tree import open_tree

NAMES = ("OfficeHomeDataset_10072016", "office_home")  # the distributor's, and ours
ADDRESS = "https://www.hemanthdv.org/officeHomeDataset.html"
DOMAINS = ("Art", "Clipart", "Product", "Real World")


def office_home(
    data_dir: str | Path,
    *,
    domains: Sequence[str] = ("Product", "Real World"),
    shape: Sequence[int] = (3, 128, 128),
) -> Source:
    """Images of the named domains, without a test part; classes are named `<domain>/<object>`.

    Looks in `data_dir` for the folder `OfficeHomeDataset_10072016` or `office_home`, or a zip file
    of either name, with `<domain>/<object>/*`. Spaces and underscores in domain names do not
    matter, nor do gaps in the numbers of the files.

    Args:
        data_dir: folder of the data sets.
        domains: of `Art`, `Clipart`, `Product`, `Real World`.
        shape: (c, h, w) to which images are resized whatever their aspect ratio, bilinear with
            anti-aliasing.

    Raises:
        ValueError: nothing found, an unknown or missing domain, or an unreadable image.
    """
    known = {_plain(name): name for name in DOMAINS}
    wrong = [name for name in domains if _plain(name) not in known]
    if wrong or not domains:
        raise ValueError(f"data.source.domains={list(domains)}: give some of {', '.join(DOMAINS)}")
    wanted = [known[_plain(name)] for name in domains]
    size = "x".join(map(str, shape))
    key = f"office_home-{size}-{'-'.join(_plain(name) for name in wanted)}"
    places = [
        Place(f"{name}{ending}", key, partial(_read, wanted, shape))
        for name in NAMES
        for ending in ("", ".zip")
    ]
    return find("office_home", data_dir, places, address=f"{ADDRESS} (to be fetched by hand)")


def _plain(domain: str) -> str:
    return domain.lower().replace(" ", "").replace("_", "")


def _read(domains: Sequence[str], shape: Sequence[int], path: Path) -> Source:
    tree = open_tree(path)
    files: dict[str, list[PurePosixPath]] = {}
    for file in tree.paths:
        if len(file.parts) == 3:
            for domain in domains:
                if _plain(file.parts[0]) == _plain(domain):
                    files.setdefault(f"{domain}/{file.parts[1]}", []).append(file)
    for domain in domains:
        if not any(name.startswith(f"{domain}/") for name in files):
            raise ValueError(f"{path}: holds no images {domain}/<object>/*.jpg")
    classes = sorted(files)
    labels = [number for number, name in enumerate(classes) for _ in files[name]]
    images = np.empty((len(labels), *shape), dtype=np.uint8)
    ordered = [file for name in classes for file in files[name]]
    for row, file in enumerate(track(ordered, "office_home: images")):
        images[row] = pixels(tree.read(file), shape, f"{path}: {file}")
    return Source(
        "office_home",
        images,
        np.array(labels, dtype=np.int64),
        images[:0],
        np.array([], dtype=np.int64),
        tuple(classes),
        path.name,
    )
