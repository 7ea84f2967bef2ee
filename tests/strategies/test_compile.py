"""A compiled body: training steps alone, with the same numbers where the backend has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lifelong.storage.checkpoint import latest
from tests.conftest import execute, results_of
from tests.test_contract import ADAM, FAST, alike, assert_resumes

OPTIONS = [*FAST, *ADAM, "heads=multi", "epochs=2", "tasks=2", "evaluate_every_steps=5"]


@pytest.mark.parametrize("strategy", ["mas", "lwf"])
def test_numbers_are_those_of_an_uncompiled_body(tmp_path: Path, strategy: str) -> None:
    """The backend `eager` has the same operations."""
    options = [*OPTIONS, f"strategy={strategy}", "checkpoint_every=1"]
    assert execute(tmp_path / "plain", *options) == 0
    compiled = assert_resumes(tmp_path, [*options, "compile=eager"], 3)
    assert results_of(tmp_path / "plain") == results_of(compiled)
    states = [latest(folder)[0] for folder in (tmp_path / "plain", compiled)]
    assert all(state is not None for state in states)
    assert alike(*(state.strategy for state in states if state is not None))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["strategy=hps", "compile=true"], "its network keeps weights of each task's own"),
        (["strategy=er", "compile=fast"], "compile=fast: give true, false, or one of"),
    ],
)
def test_refusals(tmp_path: Path, options: list[str], message: str, capsys: Any) -> None:
    assert execute(tmp_path, *OPTIONS, *options) == 2
    assert message in capsys.readouterr().err
