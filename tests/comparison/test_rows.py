"""Finished runs as rows."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from lifelong.comparison.rows import results
from tests.comparison.finished_runs import run


def test_a_row_has_the_options_that_differ_and_all_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    run(tmp_path / "1", "ours", 1, 0.4)
    run(tmp_path / "2", "ours", 2, 0.5, em="release")
    run(tmp_path / "3", "ours", 3, 0.5, status="failed")
    run(tmp_path / "4", "ours", 4, 0.5, visits=[0, 1])
    rows = results(tmp_path)
    assert [Path(row["folder"]).name for row in rows] == ["1", "2"]
    assert [(row["strategy"], row["data"], row["seed"]) for row in rows] == [
        ("ours", "toy", 1), ("ours", "toy", 2)
    ]  # fmt: skip
    assert [row["strategy.em"] for row in rows] == ["paper", "release"]
    assert all("epochs" not in row for row in rows)  # in which they are alike
    assert [row["final_accuracy"] for row in rows] == [0.4, 0.5]
    assert [row["seconds"] for row in rows] == [7.2, 7.2]
    told = capsys.readouterr().err
    assert "left out: 1 unfinished runs" in told
    assert "was written by an earlier version" in told


def test_rows_are_a_table_of_pandas_where_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=tuple))
    run(tmp_path / "1", "ours", 1, 0.4)
    table = results(tmp_path / "1")
    assert isinstance(table, tuple)
    assert [row["final_accuracy"] for row in table] == [0.4]
