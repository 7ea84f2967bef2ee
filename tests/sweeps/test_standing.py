"""How the runs of a sweep stand."""

from __future__ import annotations

import json
from pathlib import Path

from lifelong.sweeps.standing import note_failure, sweep_status


def run(folder: Path, results: str | None) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("")
    if results is not None:
        (folder / "results.json").write_text(results)


def finished(accuracy: float | None) -> str:
    return json.dumps({"status": "finished", "metrics": {"final_accuracy": accuracy}})


def test_runs_are_finished_failed_or_running(tmp_path: Path) -> None:
    run(tmp_path / "a", finished(0.5))
    run(tmp_path / "b", finished(None))
    run(tmp_path / "c", json.dumps({"status": "running", "metrics": {}}))
    run(tmp_path / "d", None)
    run(tmp_path / "e", "{")  # half written
    run(tmp_path / "f", json.dumps({"status": "failed", "metrics": {}}))
    (tmp_path / "no run").mkdir()
    note_failure(tmp_path / "f", "it diverged")
    note_failure(tmp_path / "g", "lr=-1: give more")  # refused: it has no folder
    found = sweep_status(tmp_path)
    assert found.finished == {"a": 0.5, "b": None}
    assert found.failed == {"f": "it diverged", "g": "lr=-1: give more"}
    assert found.running == ["c", "d", "e"]
    times = {name: (tmp_path / "failures" / f"{name}.txt").stat().st_mtime_ns for name in "fg"}
    assert found.failed_at == times


def test_a_run_that_is_begun_anew_has_not_failed(tmp_path: Path) -> None:
    note_failure(tmp_path / "a", "why")
    note_failure(tmp_path / "b", "why")
    note_failure(tmp_path / "a", None)
    assert list(sweep_status(tmp_path).failed) == ["b"]
    note_failure(tmp_path / "b", None)
    note_failure(tmp_path / "b", None)
    assert list(tmp_path.iterdir()) == []


def test_finished_runs_are_read_once(tmp_path: Path) -> None:
    run(tmp_path / "a", finished(0.5))
    before = sweep_status(tmp_path)
    (tmp_path / "a" / "results.json").write_text(finished(0.75))
    run(tmp_path / "b", finished(0.25))
    again = sweep_status(tmp_path, before)
    assert again.finished == {"a": 0.5, "b": 0.25}
    assert before.finished == {"a": 0.5}
