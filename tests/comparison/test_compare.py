"""Folders of runs compared by one command."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lifelong.comparison.compare import main
from tests.comparison.finished_runs import run


def test_mistakes(tmp_path: Path, capsys: Any) -> None:
    assert main([str(tmp_path)]) == 2
    assert "holds no runs" in capsys.readouterr().err
    assert main([]) == 2
    told = "error: FOLDER: give one or more that hold runs; --help lists all\n"
    assert capsys.readouterr().err == told
    run(tmp_path / "1", "ours", 1, 0.4)
    assert main(["figure=strategy.em", str(tmp_path)]) == 2
    assert "figure=strategy.em: no run has a number there" in capsys.readouterr().err
    assert main(["figure=seed", str(tmp_path)]) == 2
    assert "figure=seed: runs are averaged over it" in capsys.readouterr().err
    (tmp_path / "1" / "results.json").write_text("{")
    assert main([str(tmp_path)]) == 2
    assert "results.json: cannot be read" in capsys.readouterr().err


def test_tables_and_pages_need_no_pytorch() -> None:
    """Which takes seconds to load."""
    heavy = "{'torch', 'lightning', 'torchvision', 'torchmetrics'} & sys.modules.keys()"
    code = f"import sys, lifelong.comparison.compare, lifelong.report.page; print({heavy})"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"


def test_what_is_left_out_is_told_beside_a_figure_and_references_too(
    tmp_path: Path, capsys: Any
) -> None:
    for seed, em in ((1, 0.1), (2, 0.2), (3, "paper")):
        run(tmp_path / "a" / str(seed), "ours", seed, 0.4, em)
    run(tmp_path / "a" / "4", "ours", 4, 0.4, 0.1, status="stopped")
    run(tmp_path / "b" / "1", "joint", 1, 0.6, status="stopped")
    assert main([str(tmp_path / "a"), "figure=strategy.em"]) == 0
    told = capsys.readouterr().err
    assert f"not finished: {tmp_path / 'a' / '4'}" in told
    assert "left out: ours strategy.em=paper: strategy.em is paper, no number" in told
    assert main([str(tmp_path / "a"), f"reference={tmp_path / 'b'}"]) == 2
    assert f"reference={tmp_path / 'b'}: holds no finished run, 1 others" in capsys.readouterr().err


def test_figures_of_ones_own_stay(tmp_path: Path) -> None:
    run(tmp_path / "1", "ours", 1, 0.4)
    folder = tmp_path / "comparison_figures"
    folder.mkdir()
    for name in ("mine.png", "accuracy_matrices_mine.png", "accuracy_along_stream_2.png"):
        (folder / name).touch()
    assert main([str(tmp_path)]) == 0
    assert (folder / "mine.png").exists()
    assert (folder / "accuracy_matrices_mine.png").exists()
    assert not (folder / "accuracy_along_stream_2.png").exists()


@pytest.fixture
def thousand(tmp_path: Path) -> Path:
    for number in range(1000):
        run(tmp_path / str(number), f"method {number % 20}", number // 20, (number % 97) / 100)
        path = tmp_path / str(number) / "config.yaml"
        path.write_text(path.read_text() + "".join(f"key{i}: {i}\n" for i in range(150)))
    return tmp_path


def test_a_thousand_runs(thousand: Path) -> None:
    begun = time.perf_counter()
    assert main([str(thousand)]) == 0
    assert time.perf_counter() - begun < 20
    assert (thousand / "comparison.csv").read_text().count("final_accuracy") == 20
