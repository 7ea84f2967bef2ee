"""Image folders by domain: `<domain>/<class>/*`, each domain a data set of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lifelong.data.sources.folder import Test, image_folder
from lifelong.data.sources.places import located
from lifelong.data.sources.source import Source
from lifelong.data.sources.tree import left_by_programs
from lifelong.errors import Missing


def domain_folders(
    roots: Sequence[str],
    *,
    shape: Sequence[int],
    data_dir: str | Path,
    domains: Sequence[str] | None = None,
    test: Test = 0.2,
    test_domains: Sequence[str] = (),
    crop: bool = True,
    same_classes: bool = True,
) -> list[Source]:
    """A data set for each domain, in their order.

    Args:
        roots: folders of domains, as they stand or below `data_dir`.
        shape: (c, h, w), to which images are brought.
        data_dir: folder of the data sets, and for the prepared copies.
        domains: names of their folders; null for all, sorted by name.
        test: see `image_folder`; `{domain}` stands for the name of each.
        test_domains: domains whose images, all of them, every task is tested on; those of the
            others are then all for training.
        crop: keep the aspect ratio.
        same_classes: number the classes of all domains alike, by their names; a domain may lack
            some.

    Raises:
        ValueError: a folder or domain that is not there.
    """
    found = _found(roots, Path(data_dir).expanduser())
    names = sorted(found.keys() - set(test_domains)) if domains is None else list(domains)
    for name in (*names, *test_domains):
        if name not in found:
            option = "domains" if name in names else "test_domains"
            raise ValueError(
                f"data.{option}: {name} is no folder in {', '.join(map(str, roots))}; there are "
                f"{', '.join(sorted(found)) or 'none'}"
            )
    both = sorted(set(names) & set(test_domains))
    if both or not names:
        raise ValueError(
            f"data.domains={names}: "
            + (f"{both[0]} is a test domain as well" if both else "give at least one")
        )

    def read(name: str, tested: Test) -> Source:
        given = tested.replace("{domain}", name) if isinstance(tested, str) else tested
        return image_folder(found[name], shape=shape, cache=data_dir, test=given, crop=crop)

    held_out = [read(name, None) for name in test_domains]
    sources = [read(name, None if held_out else test) for name in names]
    if not same_classes and not held_out:
        return sources
    every = renumbered([*sources, *held_out])
    sources, tested = every[: len(sources)], every[len(sources) :]
    if not held_out:
        return sources
    images = np.concatenate([source.train_images for source in tested])
    labels = np.concatenate([source.train_labels for source in tested])
    return [
        replace(source, test_images=images, test_labels=labels, file=None) for source in sources
    ]


def _found(roots: Sequence[str], data_dir: Path) -> dict[str, Path]:
    """The folder of each domain."""
    found: dict[str, Path] = {}
    for root, place in zip(roots, located(roots, data_dir), strict=False):
        if not place.is_dir():
            raise Missing(
                f"data.roots={root}: no such folder, as it stands or in paths.data_dir={data_dir}; "
                "give one with <domain>/<class>/*"
            )
        for path in sorted(place.iterdir()):
            if path.is_dir() and left_by_programs(path.name) is None:
                if path.name in found:
                    raise ValueError(
                        f"data.roots: {path.name} is in {found[path.name].parent} and in {place}"
                    )
                found[path.name] = path
    return found


def renumbered(sources: Sequence[Source]) -> list[Source]:
    """The same images, classes being numbered alike in all: by the order of their names."""
    classes = sorted({name for source in sources for name in source.classes})
    return [_renumbered(source, classes) for source in sources]


def _renumbered(source: Source, classes: Sequence[str]) -> Source:
    """The same images, their labels being numbers of `classes`."""
    places = np.array([classes.index(name) for name in source.classes], dtype=np.int64)

    def new(labels: NDArray[np.int64]) -> NDArray[np.int64]:
        return places[labels]

    return replace(
        source,
        classes=tuple(classes),
        train_labels=new(source.train_labels),
        test_labels=new(source.test_labels),
        val_labels=new(source.val_labels) if source.has_validation else source.val_labels,
    )
