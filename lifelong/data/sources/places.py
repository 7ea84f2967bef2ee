"""Where the files of a data set are looked for, and what is said when they are nowhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lifelong.data.sources.source import Source, newest_copy, prepared
from lifelong.errors import Missing


@dataclass(frozen=True)
class Place:
    """A file or folder in which a data set may lie.

    Attributes:
        path: below the folder of the data sets.
        key: of its prepared copy, which serves when the place is empty.
        read: makes the arrays of it.
        beside: names of files in the same folder that are read as well.
    """

    path: str
    key: str
    read: Callable[[Path], Source]
    beside: tuple[str, ...] = ()


def located(roots: Sequence[str], data_dir: str | Path) -> list[Path]:
    """A person's folders: each as it stands, or else below the folder of the data sets if there.

    Raises:
        ValueError: a text in place of a list, or none.
    """
    if isinstance(roots, str):
        raise ValueError(f"data.roots={roots}: give a list, [{roots}]")
    if not roots:
        raise ValueError("data.roots=[]: give at least one folder")
    found = []
    for root in roots:
        path, below = Path(root).expanduser(), Path(data_dir).expanduser() / root
        found.append(below if below.exists() and not path.exists() else path)
    return found


def find(
    name: str,
    data_dir: str | Path,
    places: Sequence[Place],
    *,
    address: str,
    fetch: Callable[[Path], object] | None = None,
) -> Source:
    """The data set from the first place that is there, a prepared copy, or at last the network.

    Args:
        name: of the data set.
        data_dir: folder of the data sets.
        places: in the order in which they are looked at.
        address: where a person finds the data set.
        fetch: downloads it into a folder where one of the places then is; None not to.

    Raises:
        ValueError: nothing found, and the download failed or was not wanted.
    """
    folder = Path(data_dir).expanduser()
    source = _there(folder, places)
    if source is not None:
        return source
    for key in dict.fromkeys(place.key for place in places):
        copy = newest_copy(key, folder)
        if copy is not None:
            return copy
    if fetch is None:
        raise _missing(name, folder, places, address, "")
    existed = folder.exists()
    try:
        fetch(folder)
    except Exception as error:  # of many kinds; the user is told what to do instead
        if not existed and folder.exists() and not any(folder.iterdir()):
            folder.rmdir()
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        why = f" and the download failed ({reason})"
        raise _missing(name, folder, places, address, why) from None
    source = _there(folder, places)
    if source is None:
        raise _missing(name, folder, places, address, " after the download")
    return source


def with_torchvision(name: str, *options: dict[str, str]) -> Callable[[Path], object]:
    """Downloads by a data set of torchvision, once with each of the options."""

    def fetch(folder: Path) -> None:
        from torchvision import datasets

        for option in options or ({},):
            getattr(datasets, name)(str(folder), download=True, **option)

    return fetch


def _there(folder: Path, places: Sequence[Place]) -> Source | None:
    for place in places:
        path = folder / place.path
        if path.exists():
            beside = [path.with_name(name) for name in place.beside]
            return prepared(place.key, path, folder, partial(place.read, path), beside)
    return None


def _missing(name: str, folder: Path, places: Sequence[Place], address: str, why: str) -> Missing:
    looked = ", ".join(str(folder / place.path) for place in places)
    return Missing(
        f"{name}: no images in paths.data_dir={folder}{why}. Looked for {looked}. The official "
        f"data set is at {address}; data=digits runs at once without any"
    )
