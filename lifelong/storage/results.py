"""results.json: read back, and checked."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Required, TypedDict

from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from lifelong.storage.files import SEAL, read_json

CONFIG = "config_checksum"  # in results.json


class Results(TypedDict, total=False):
    """What tables, figures and pages take from results.json; a part of what is in it."""

    strategy: Required[str]
    data: Required[str]
    seed: Required[int]
    status: Required[str]
    tasks: Required[list[str]]
    visits: Required[list[int]]
    accuracy: Required[list[Any]]  # rows, see `_is_matrix`
    metrics: Required[dict[str, float | int | None]]
    seconds: Required[dict[str, float | int]]
    evaluate: str
    measured_on: str
    fidelity: str | None
    published: dict[str, Any]
    parameters: int | None
    bytes_after_visit: list[dict[str, int]]
    multiply_adds: dict[str, int]
    peak_memory: dict[str, int]
    plasticity: list[dict[str, Any]]
    peak_accuracy_of_task: list[float | int | None]
    images: dict[str, Any]
    validation: dict[str, dict[str, Any]]
    method: dict[str, Any]


def check_shape(path: Path, found: dict[str, Any], wanted: type) -> None:
    """Refuses what is not of the types of a TypedDict; other keys may be there.

    Raises:
        ValueError: what is wrong with the file.
    """
    known = {key: value for key, value in found.items() if key in wanted.__annotations__}
    try:
        check_type(known, wanted, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
    except TypeCheckError as error:
        raise ValueError(f"{path}: is damaged, or of something else ({error})") from None


def _is_matrix(found: Any, rows: int, columns: int) -> bool:
    """Whether it is rows of numbers or None; a stream of 1,000 tasks has a million of them."""
    if not isinstance(found, list) or len(found) != rows:
        return False
    if not all(isinstance(row, list) and len(row) == columns for row in found):
        return False
    return {type(cell) for row in found for cell in row} <= {float, int, type(None)}


IN_REPORTS = ("parameters", "peak_accuracy_of_task", "images", "validation", "method")


def read_results(folder: Path, more: Sequence[str] = ()) -> dict[str, Any]:
    """The content of a run's results.json.

    Args:
        folder: of the run.
        more: keys that are needed beside those that a table needs.

    Raises:
        ValueError: a file that is damaged or of something else.
    """
    path = folder / "results.json"
    found = read_json(path, more)
    check_results(path, found)
    return found


def checksum(config: Path) -> int | None:
    """Of a config.yaml, however its lines end; None if there is none."""
    if not config.exists():
        return None
    return zlib.crc32(b"\n".join(config.read_bytes().splitlines()))


def check_results(path: Path, found: dict[str, Any]) -> None:
    """Refuses results of which a table cannot be made, or of another config.yaml than that beside.

    Raises:
        ValueError: what is wrong with the file.
    """
    if found.get(CONFIG) is not None:
        if SEAL not in found:
            raise ValueError(f"{path}: is damaged (its checksum is gone)")
        now = checksum(path.with_name("config.yaml"))
        if now not in (None, found[CONFIG]):
            raise ValueError(
                f"{path.with_name('config.yaml')}: is damaged or was changed; it is not the one "
                "that the results are of"
            )
    check_shape(path, found, Results)
    tasks, visits, rows = (found[key] for key in ("tasks", "visits", "accuracy"))
    if 0 in visits:
        raise ValueError(f"{path}: was written by an earlier version, which numbered tasks from 0")
    fits = len(rows) <= len(visits) and all(1 <= task <= len(tasks) for task in visits)
    for matrix in (rows, *(found[key] for key in found if key.startswith("accuracy_"))):
        fits = fits and _is_matrix(matrix, len(rows), len(tasks))
    if not fits or len(found.get("peak_accuracy_of_task", tasks)) != len(tasks):
        raise ValueError(f"{path}: is damaged (accuracies, tasks and visits do not fit)")


def visited(results: Mapping[str, Any]) -> list[int]:
    """The index of the task of each visit, from the content of results.json."""
    return [number - 1 for number in results["visits"]]
