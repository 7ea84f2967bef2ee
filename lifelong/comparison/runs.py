"""Finished runs, read from their folders."""

from __future__ import annotations

import json
import math
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Required, TypedDict

from lifelong.configuration.folders import FAILURES
from lifelong.configuration.stored import DEVICE, SEEDS, plain_leaves, read_plain
from lifelong.errors import reason
from lifelong.storage.files import read_json
from lifelong.storage.results import check_results, check_shape

UNNAMED = (*SEEDS, *DEVICE, "name")  # options that make no other row
FIDELITY = {"clean": "", "authors": ", official implementation"}
ASKED = {"task": "", "both": "", "class": ", class-incremental"}
MEASURED = {"test": "", "validation": ", measured on validation images"}


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: it was read from.
        results: content of results.json.
        config: its configuration.
        options: the same, flat, but for what changes no result.
    """

    folder: Path
    results: dict[str, Any]
    config: dict[str, Any]
    options: dict[str, Any]

    @property
    def choices(self) -> dict[str, str]:
        """The member of each group of the configuration, where that is known."""
        return self.config.get("choices") or {}

    @property
    def seeds(self) -> tuple[Any, ...]:
        """All that a run of the same options may differ by."""
        return tuple(self.options.get(key) for key in SEEDS)

    def value(self, metric: str) -> float:
        """A metric, or a cost, see `COSTS`; NaN if it has none."""
        found = self.results
        value = COSTS[metric](found) if metric in COSTS else found["metrics"].get(metric)
        return math.nan if value is None else float(value)


# What a run costs, from the content of results.json.
COSTS: dict[str, Callable[[dict[str, Any]], float | None]] = {
    "seconds": lambda found: found["seconds"].get("train"),
    "parameters": lambda found: found.get("parameters"),
    "bytes": lambda found: (found.get("bytes_after_visit") or [{}])[-1].get("total"),
    "multiply_adds": lambda found: found.get("multiply_adds", {}).get("training_step"),
    "peak_memory": lambda found: found.get("peak_memory", {}).get("process"),
    "capacity": lambda found: _capacity(found.get("method", {}).get("capacity")),
}


def _capacity(of_visits: Any) -> float | None:
    """Share of weights, or of each layer's directions, that are taken at the end."""
    if not isinstance(of_visits, dict) or not of_visits:
        return None
    last = of_visits[max(of_visits, key=int)]
    values = [*last.values()] if isinstance(last, dict) else [last]
    return fmean(values) if values and None not in values else None


def read(
    folders: Sequence[Path], step: Callable[[int, int], None] = lambda done, total: None
) -> tuple[list[Run], list[Path], dict[Path, str]]:
    """The finished runs below some folders, each once; the folders of all others; what is damaged.

    Others are those still running, stopped, or failed; also those of a sweep that were refused.
    Damaged are runs of which a file cannot be read, with what is wrong.

    Args:
        folders: that hold runs, at any depth.
        step: is called with the number of runs read, and of all.

    Raises:
        ValueError: a folder without runs.
    """
    places: dict[Path, None] = {}
    damaged: dict[Path, str] = {}
    for folder in folders:
        found = _places(folder, damaged)
        if not found:
            there = "there is no such folder"
            if folder.exists():
                there = next(iter(damaged.values()), "holds no runs (no results.json)")
            raise ValueError(f"{folder}: {there}; give folders of runs, such as outputs/sweep")
        places |= dict.fromkeys(found)
    runs, unfinished = [], []
    for number, place in enumerate(places, 1):
        try:
            run = _run(place)
            if run is None:
                unfinished.append(place)
            else:
                runs.append(run)
        except (OSError, ValueError) as error:
            damaged[place] = reason(error)
        step(number, len(places))
    return runs, unfinished, damaged


def _places(folder: Path, damaged: dict[Path, str]) -> list[Path]:
    """Folders of runs below a folder, whatever became of them.

    Args:
        folder: that holds runs, or links to them.
        damaged: gets folders that cannot be read, and why.
    """
    known, met, whole = set[Path](), set[Path](), folder.resolve()

    def unreadable(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            damaged[Path(str(error.filename))] = reason(error)

    for name, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        place = Path(name).resolve()
        above = place != whole and whole.is_relative_to(place)
        if above or place in met:  # by a link, which may lead out or round in circles
            folders.clear()
            continue
        met.add(place)
        if "config.yaml" in files and {"environment.json", "results.json"} & {*files}:
            known.add(place)
        if place.name == FAILURES:
            known |= {place.parent / Path(file).stem for file in files if file.endswith(".txt")}
    return sorted(known)


def _run(place: Path) -> Run | None:
    """The run in a folder if it is finished."""
    path = place / "results.json"
    if not path.exists():
        return None
    results = read_json(path, {"status"})
    if results["status"] != "finished":
        return None
    check_results(path, results)
    config = read_plain(place / "config.yaml")
    check_shape(place / "config.yaml", config, _Config)
    run = Run(place, results, config, options_of(config))
    try:
        table_of(run)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: is damaged ({reason(error)})") from None
    return run


class _Config(TypedDict, total=False):
    """What tables take from config.yaml; a part of what is in it."""

    epochs: Required[int]
    batch_size: Required[int]
    choices: dict[str, str] | None
    changed: list[str] | None
    published: dict[str, Any] | None


def said_of(config: Mapping[str, Any], measured_on: str) -> dict[str, Any]:
    """What a paper says of a run, if it is measured on what papers measure on: test images."""
    return (config.get("published") or {}) if measured_on == "test" else {}


def digest(options: Mapping[str, Any]) -> str:
    """Of all options but seeds, the device and the name: a row of another one is another row.

    What is false, zero or empty is left out, so that an option that is new, and that a row does not
    use, makes no other row of it.
    """
    said = {key: value for key, value in options.items() if value and key not in UNNAMED}
    text = json.dumps(said, sort_keys=True, default=str)
    return f"{zlib.crc32(text.encode()):08x}"


def unseeded(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options but for the seeds and the name, by which runs that are averaged may differ."""
    return {key: value for key, value in options.items() if key not in (*SEEDS, "name")}


def options_of(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration, flat, but for what changes no result."""
    return {key: _plain(value) for key, value in plain_leaves(config)}


def _plain(value: Any) -> Any:
    """100 for 100.0: the same number, however it was written."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def table_of(run: Run, images: str = "") -> str:
    """What runs in one table have in common, in words: the stream, how it is learned and measured.

    Args:
        run: one of them.
        images: what is to be said of their numbers.
    """
    results, config = run.results, run.config
    pool = results.get("method", {}).get("unlabeled", "none")
    return (
        f"{results['data']}: {many(len(results['tasks']), 'task')}, "
        f"{many(config['epochs'], 'epoch')}, batch "
        f"{config['batch_size']}"
        + images
        + ("" if pool == "none" else f", unlabeled images: {pool}")
        + "".join(
            f", {key.removeprefix('data.')} {value}"
            for key, plain in SCENARIO.items()
            if (value := run.options.get(key, plain)) != plain
        )
        + FIDELITY[results.get("fidelity") or "clean"]
        + MEASURED[results.get("measured_on", "test")]
        + ASKED[results.get("evaluate", "task")]
    )


def stream_of(run: Run) -> dict[str, Any]:
    """The options that make its tasks and their images, but for seeds and how images are served."""
    return {
        key: value
        for key, value in run.options.items()
        if key.startswith("data.") and key not in SEEDS and key.split(".")[1] not in SERVED
    }


def images_of(run: Run) -> dict[str, tuple[int, int]]:
    """Numbers of training and test images by the classes of each task."""
    results = run.results
    images, classes = results.get("images", {}), results.get("classes", results["tasks"])
    counts = [images.get(part, []) for part in ("train", "test")]
    return {str(task): (train, test) for task, train, test in zip(classes, *counts, strict=False)}


# Options of a stream that change how its images are served, and not which ones there are.
SERVED = (
    "batch_size", "drop_last", "images_on", "name", "shape", "standardize", "test_transform",
    "train_transform", "transformed",
)  # fmt: skip
ORDERS = ("data.class_seed", "data.order_seed")  # seeds of the order of classes and of tasks
# Options of a stream that make another one of it, and what they are where nothing is said.
SCENARIO = {
    "data.labels": "own", "data.blurry": 0.0, "data.online": False, "data.order": None,
    "data.repeat": 1,
}  # fmt: skip


def many(number: int, what: str) -> str:
    """A number of things in words.

    >>> many(1, "task"), many(2, "task")
    ('1 task', '2 tasks')
    """
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
