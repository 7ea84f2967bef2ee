"""results.json: read back, and checked."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from lifelong.storage.files import sealed
from lifelong.storage.results import CONFIG, checksum, read_results, visited

CONTENT: dict[str, Any] = {
    "strategy": "ours", "data": "toy", "seed": 1, "status": "finished", "tasks": ["a", "b"],
    "visits": [2, 1, 2], "accuracy": [[None, 0.5], [0.25, 0.5], [0.25, 1]],
    "metrics": {"final_accuracy": 0.625}, "seconds": {"train": 2}, "of a later version": [1],
}  # fmt: skip


def written(folder: Path, **changes: Any) -> Path:
    path = folder / "results.json"
    path.write_text(json.dumps({**CONTENT, **changes}))
    return path


def test_what_is_whole_comes_back(tmp_path: Path) -> None:
    written(tmp_path)
    assert read_results(tmp_path) == CONTENT
    assert visited(CONTENT) == [1, 0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "one"}, "is damaged, or of something else"),
        ({"metrics": [0.5]}, "is damaged, or of something else"),
        ({"visits": [0, 1, 0]}, "was written by an earlier version"),
        ({"visits": [1, 2]}, "accuracies, tasks and visits do not fit"),
        ({"visits": [1, 2, 3]}, "accuracies, tasks and visits do not fit"),
        ({"accuracy": [[0.5], [0.5], [0.5]]}, "accuracies, tasks and visits do not fit"),
        ({"accuracy_class": [[0.5, 0.5]]}, "accuracies, tasks and visits do not fit"),
        ({"accuracy": [[None, 0.5], [0.25, "a half"], [0.25, 1]]}, "accuracies, tasks and visits"),
        (
            {"accuracy_class": [[None, 0.5], {"0": 1, "1": 1}, [0, 1]]},
            "accuracies, tasks and visits",
        ),
        ({"accuracy_class": 0.5}, "accuracies, tasks and visits do not fit"),
        ({"peak_accuracy_of_task": [0.5]}, "accuracies, tasks and visits do not fit"),
        ({CONFIG: 5}, "is damaged .its checksum is gone"),
    ],
)
def test_what_no_table_can_be_made_of_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = written(tmp_path, **changes)
    with pytest.raises(ValueError, match=f"{path}: .*{message}"):
        read_results(tmp_path)


def test_keys_that_a_page_needs_are_asked_for(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(ValueError, match="validation"):
        read_results(tmp_path, ["validation"])


def test_results_belong_to_the_configuration_beside_them(tmp_path: Path) -> None:
    """However its lines end; one that is gone says nothing."""
    config = tmp_path / "config.yaml"
    config.write_bytes(b"lr: 0.1\r\nseed: 1\r\n")
    assert checksum(config) == zlib.crc32(b"lr: 0.1\nseed: 1")
    path = tmp_path / "results.json"
    path.write_text(json.dumps(sealed({**CONTENT, CONFIG: checksum(config)})))
    config.write_text("lr: 0.1\nseed: 1\n")
    assert read_results(tmp_path)["seed"] == 1
    config.write_text("lr: 0.2\nseed: 1\n")
    with pytest.raises(ValueError, match=r"config\.yaml: is damaged or was changed"):
        read_results(tmp_path)
    config.unlink()
    assert checksum(config) is None
    assert read_results(tmp_path)["seed"] == 1
