"""docs/hybrids.md: its class runs as it stands, its commands compose."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from lifelong.configuration.compose import composed
from tests.conftest import execute, results_of

PAGE = (Path(__file__).parents[1] / "docs" / "hybrids.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    lifelong run (.*?)(?:\s+#.*)?$", PAGE, re.MULTILINE)


def test_the_class_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "er_ewc.py").write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    quick = [
        "data=digits",
        "data.fraction=0.3",
        "tasks=2",
        "epochs=2",
        "logger=none",
        "trainer=cpu",
    ]
    both = ["strategy=ewc", "strategy._target_=er_ewc.EREWC", "+strategy.memory=40"]
    assert execute(tmp_path / "run", *quick, *both, "name=er_ewc") == 0
    results = results_of(tmp_path / "run")
    assert results["strategy"] == "er_ewc"
    assert "importances" in results["method"]
    assert results["bytes_after_visit"][-1]["memory"] > 0


@pytest.mark.parametrize("command", [each for each in COMMANDS if "er_ewc" not in each])
def test_a_command_composes(command: str) -> None:
    assert composed(shlex.split(command)).strategy
