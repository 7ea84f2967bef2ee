"""The notebooks run, with fewer epochs and seeds, and are as they were printed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
FEWER = {"epochs=10": "epochs=1", "in (1, 2, 3)": "in (1,)", "(0, 1000, 100000)": "(1000,)"}


def cells(path: Path) -> list[dict[str, Any]]:
    """Those with code."""
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in found if cell["cell_type"] == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    code = "\n".join("".join(cell["source"]) for cell in cells(path))
    for many, few in FEWER.items():
        code = code.replace(many, few)
    script = tmp_path / "notebook.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "| method | n |" in done.stdout


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_a_notebook_shows_has_no_mistake_and_no_live_bar(path: Path) -> None:
    outputs = [output for cell in cells(path) for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    text = json.dumps(outputs)
    assert "\\u001b" not in text
    assert "| method | n |" in text
