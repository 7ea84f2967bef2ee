"""Folders of runs, read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lifelong.comparison import runs
from lifelong.comparison.compare import main
from lifelong.comparison.runs import read
from tests.comparison.finished_runs import run


def test_runs_without_results_are_told(tmp_path: Path, capsys: Any) -> None:
    run(tmp_path / "done", "ours", 1, 0.5)
    (tmp_path / "killed").mkdir()
    for name in ("config.yaml", "environment.json"):
        (tmp_path / "killed" / name).write_text("{}")
    (tmp_path / "failures").mkdir()
    (tmp_path / "failures" / "lr=-1.txt").write_text("lr=-1: give more")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "results.json").write_text("[]")
    assert main([str(tmp_path)]) == 0
    told = capsys.readouterr().err
    assert f"not finished: {tmp_path / 'killed'}\n" in told
    assert f"not finished: {tmp_path / 'lr=-1'}\n" in told
    assert "foreign" not in told
    assert main([str(tmp_path / "killed")]) == 2
    assert "holds no finished run, 1 others" in capsys.readouterr().err


def test_results_of_an_earlier_version_are_told(tmp_path: Path) -> None:
    run(tmp_path / "1", "ours", 1, 0.5, visits=[0, 1])
    _, _, damaged = read([tmp_path])
    assert "was written by an earlier version, which numbered tasks from 0" in "".join(
        damaged.values()
    )


def test_linked_runs_are_found_and_unreadable_ones_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "a" / "1", "ours", 1, 0.4)
    run(tmp_path / "b" / "2", "ours", 2, 0.6)
    (tmp_path / "a" / "2").symlink_to(tmp_path / "b" / "2")
    (tmp_path / "a" / "round").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "again").symlink_to(tmp_path / "a" / "1")
    found, _, damaged = read([tmp_path / "a"])
    assert [each.results["seed"] for each in found] == [1, 2]
    assert not damaged
    read_json = runs.read_json

    def refused(path: Path, keys: set[str]) -> Any:
        if path.parent.name == "2":
            raise PermissionError(13, "Permission denied", str(path))
        return read_json(path, keys)

    monkeypatch.setattr(runs, "read_json", refused)
    found, _, damaged = read([tmp_path / "a"])
    assert [each.results["seed"] for each in found] == [1]
    assert list(damaged) == [tmp_path / "b" / "2"]


def test_costs_that_nobody_knows(tmp_path: Path, capsys: Any) -> None:
    run(tmp_path / "1", "ours", 1, 0.4, parameters=None, method={"capacity": {"1": {"a": None}}})
    assert main([str(tmp_path)]) == 0
    assert "nan" not in capsys.readouterr().out
