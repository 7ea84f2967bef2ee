"""Image data sets of Hugging Face's library `datasets`, by their names or as files."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, NotRequired, TypedDict, Unpack

from lifelong.data.sources.datasets import SPLITS, materialize
from lifelong.data.sources.domains import renumbered
from lifelong.data.sources.source import Source, prepared

UNSAFE = ("pandas", "generator", "spark")  # builders of `datasets` that could run what they read
IMAGE, CLASS = "Image", "ClassLabel"  # kinds of columns
SPLIT_NAMES = {**SPLITS, "val": (*SPLITS["val"], "validation"), "test": (*SPLITS["test"], "valid",
               "validation")}  # fmt: skip


class HubOptions(TypedDict):
    """How a data set is found and read.

    Attributes:
        shape: (c, h, w), to which each image is brought.
        data_dir: folder for the prepared copy.
        download: fetch what is missing (the default); else only what lies here is looked for.
        image: column of the images; null for the one that there is.
        label: column of the classes; null for the one that there is.
        test: share of each class where there is no test part, in (0, 1); 0.2.
        options: further arguments of `load_dataset`, such as `{name: fine}`.
    """

    shape: Sequence[int]
    data_dir: str | Path
    download: NotRequired[bool]
    image: NotRequired[str | None]
    label: NotRequired[str | None]
    test: NotRequired[float]
    options: NotRequired[Mapping[str, Any] | None]


def hugging_face(path: str, **options: Unpack[HubOptions]) -> Source:
    """A data set of the Hub, or one that lies here: see `datasets.load_dataset`.

    What was fetched stays where `datasets` keeps it (HF_HOME); the prepared images lie below
    `data_dir`. A set without a test part gives a share of each class.

    Args:
        path: name on the Hub such as `uoft-cs/cifar10`; or a folder: of images, of Parquet files,
            or of `save_to_disk`.
        **options: see `HubOptions`.

    Raises:
        ValueError: no such data set, columns that are missing or several, labels that are no
            classes; `datasets` is not installed.
    """
    return _source(path, _parts(path, options), options)


def hugging_face_domains(
    path: str, *, domain: str, same_classes: bool = True, **options: Unpack[HubOptions]
) -> list[Source]:
    """One source for each value of a column, such as the style of a picture.

    Args:
        path: see `hugging_face`.
        domain: the column.
        same_classes: number the classes of all domains alike, by their names; a domain may lack
            some.
        **options: see `HubOptions`.

    Raises:
        ValueError: see `hugging_face`; no such column.
    """
    parts = _parts(path, options)
    known = parts["train"].features
    if domain not in known:
        raise ValueError(f"data.domain={domain}: {path} has the columns {', '.join(known)}")
    names = getattr(known[domain], "names", None)
    made = []
    for value in sorted(set(parts["train"][domain])):
        own = {
            name: None if part is None else _rows_of(part, domain, value)
            for name, part in parts.items()
        }
        called = str(value if names is None else names[value])
        made.append(_source(path, own, options, called))
    return renumbered(made) if same_classes else made


class _Pairs:
    """A data set of `datasets` as images with their labels."""

    def __init__(self, rows: Any, columns: tuple[str, str]) -> None:
        self.rows, (self.image, self.label) = rows, columns
        self.classes = getattr(rows.features[self.label], "names", None)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        row = self.rows[index]
        return row[self.image], row[self.label]


def _parts(path: str, options: HubOptions) -> dict[str, Any]:
    """The parts of a data set; None where there is none."""
    download = options.get("download", True)
    if path in UNSAFE:
        raise ValueError(f"data.path={path}: reads pickles, which could run anything; give Parquet")
    try:
        import datasets
    except ImportError:
        raise ValueError("data=hf: needs datasets; pip install 'lifelong[hf]'") from None
    datasets.disable_progress_bars()
    try:
        found = _loaded(datasets, path, download, dict(options.get("options") or {}))
    except Exception as error:  # of many kinds: no network, no such set, damaged files
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        how = "" if download or Path(path).expanduser().exists() else " and download=false"
        raise ValueError(f"data.path={path}: could not be read{how} ({reason})") from None
    if not isinstance(found, Mapping):
        found = {"train": found}
    taken: set[str] = set()
    parts = {}
    for part, splits in SPLIT_NAMES.items():
        name = next((each for each in splits if each in found and each not in taken), None)
        parts[part] = None if name is None else found[name]
        taken |= {name} if name else set()
    if parts["train"] is None:
        raise ValueError(
            f"data.path={path}: has the splits {', '.join(map(str, found))}, and none is for "
            "training; give data.source_options={split:<name>}"
        )
    return parts


def _loaded(datasets: Any, path: str, download: bool, options: dict[str, Any]) -> Any:
    folder = Path(path).expanduser()
    if (folder / "dataset_dict.json").exists() or (folder / "dataset_info.json").exists():
        return datasets.load_from_disk(str(folder))
    if folder.exists():
        return datasets.load_dataset(str(folder), **options)
    with nullcontext() if download else _offline(datasets):
        return datasets.load_dataset(path, **options)


@contextmanager
def _offline(datasets: Any) -> Iterator[None]:
    """Within, only what was fetched before is found, without asking the network."""
    from huggingface_hub import constants

    before = datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE, constants.HF_HUB_OFFLINE = before


def _columns(path: str, rows: Any, options: HubOptions) -> tuple[str, str]:
    """Names of the columns of images and labels."""
    usual = {"image": ("image", "img", "pixels"), "label": ("label", "labels")}
    return (
        _column(path, rows, "image", options.get("image"), IMAGE, usual["image"]),
        _column(path, rows, "label", options.get("label"), CLASS, usual["label"]),
    )


def _column(
    path: str, rows: Any, option: str, given: str | None, kind: str, usual: Sequence[str]
) -> str:
    known = rows.features
    if given is not None:
        if given not in known:
            raise ValueError(f"data.{option}={given}: {path} has the columns {', '.join(known)}")
        return given
    of_kind = [name for name, feature in known.items() if type(feature).__name__ == kind]
    found: list[str] = of_kind or [name for name in usual if name in known]
    if len(found) != 1:
        several = ", ".join(found or known)
        raise ValueError(f"data.{option}=null: {path} has the columns {several}; give one of them")
    return found[0]


def _rows_of(part: Any, column: str, value: Any) -> Any:
    rows = [number for number, own in enumerate(part[column]) if own == value]
    return part.select(rows)


def _source(
    path: str,
    parts: Mapping[str, Any],
    options: HubOptions,
    name: str | None = None,
) -> Source:
    """The prepared copy of a data set, or of the rows of a domain."""
    import datasets

    columns = _columns(path, parts["train"], options)
    shape, test = options["shape"], options.get("test", 0.2)
    pairs = {
        part: None if rows is None or not len(rows) else _Pairs(rows, columns)
        for part, rows in parts.items()
    }
    own = name or Path(path).name
    marks = [*_marks(parts), columns, test, name]
    mark = zlib.crc32(json.dumps(marks, default=str).encode())
    key = f"hf-{''.join(c if c.isalnum() else '_' for c in own)}-{'x'.join(map(str, shape))}"

    def read() -> Source:
        train = pairs["train"]
        if train is None:
            raise ValueError(f"data.path={path}: {own} has no training images")
        return materialize(
            train, pairs["test"], pairs["val"], shape=shape, test_share=test, name=own
        )

    folder = Path(options["data_dir"]).expanduser()
    return prepared(f"{key}-{mark:08x}", Path(datasets.__file__), folder, read)


def _marks(parts: Mapping[str, Any]) -> Iterator[str]:
    """What tells data sets of other contents apart."""
    for name, rows in parts.items():
        if rows is not None:
            yield f"{name} {len(rows)} {rows._fingerprint}"
