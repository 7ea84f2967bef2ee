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
    assert "strategy.em: the runs have no two values of it" in capsys.readouterr().err
    (tmp_path / "1" / "results.json").write_text("{")
    assert main([str(tmp_path)]) == 2
    assert "results.json: cannot be read" in capsys.readouterr().err


def test_tables_and_pages_need_no_pytorch() -> None:
    """Which takes seconds to load."""
    heavy = "{'torch', 'lightning', 'torchvision', 'torchmetrics'} & sys.modules.keys()"
    code = f"import sys, lifelong.comparison.compare, lifelong.report.page; print({heavy})"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "set()\n"


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
