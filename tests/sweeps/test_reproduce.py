"""Rows of a paper's tables, run over seeds and compared."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lifelong.comparison import compare
from lifelong.sweeps import reproduce


def test_each_row_is_a_sweep_over_seeds_and_all_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        subprocess, "run",
        lambda words, check: asked.append(words) or SimpleNamespace(returncode=0),
    )  # fmt: skip
    monkeypatch.setattr(compare, "main", lambda words: asked.append(words) or 5)
    rows = ["tag/cifar100_er", "tag/cifar100_sgd"]
    given = [rows[0], f"out={tmp_path}", "seeds=1,2", "epochs=3", rows[1]]
    assert reproduce.main(given) == 5
    command = [sys.executable, "-m", "lifelong.run", "-m"]
    expected = [
        [
            *command,
            f"experiment={row}",
            "seed=1,2",
            f"paths.output_dir={tmp_path / row}",
            "epochs=3",
        ]
        for row in rows
    ]
    told = [*(str(tmp_path / row) for row in rows), f"out={tmp_path}", "against=paper"]
    assert asked == [*expected, told]


def test_a_row_that_fails_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(
        subprocess, "run",
        lambda words, check: asked.append(words) or SimpleNamespace(returncode=130),
    )  # fmt: skip
    assert reproduce.main(["tag/cifar100_er", "tag/cifar100_sgd"]) == 130
    assert len(asked) == 1
    assert "seed=1" in asked[0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nowhere"], "error: nowhere: there is no such row; lifelong list experiments"),
        (["tag/cifar100_er", "seeds="], "error: seeds=: "),
    ],
)
def test_rows_that_are_none(
    given: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce.main(given) == 2
    assert capsys.readouterr().err.startswith(message)
    assert reproduce.main(["--help"]) == 0
    assert "lifelong reproduce tag/cifar100_er seeds=1,2,3" in capsys.readouterr().out
