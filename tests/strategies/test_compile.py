"""A compiled body: training steps alone, with the same numbers where the backend has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lifelong.checkpoint import latest
from tests.conftest import execute, results_of
from tests.test_contract import ADAM, FAST, Killed, alike, die_at

OPTIONS = [*FAST, *ADAM, "heads=multi", "epochs=2", "tasks=2", "evaluate_every_steps=5"]


@pytest.mark.parametrize("strategy", ["mas", "lwf"])
def test_numbers_are_those_of_an_uncompiled_body(tmp_path: Path, strategy: str) -> None:
    """The backend `eager` has the same operations."""
    options = [*OPTIONS, f"strategy={strategy}", "checkpoint_every=1", "resume=auto"]
    assert execute(tmp_path / "plain", *options) == 0
    options.append("compile=eager")
    assert execute(tmp_path / "compiled", *options) == 0
    with pytest.MonkeyPatch.context() as patch:
        die_at(patch, 3)
        with pytest.raises(Killed):
            execute(tmp_path / "broken", *options)
    assert execute(tmp_path / "broken", *options) == 0
    names = ("plain", "compiled", "broken")
    results = [results_of(tmp_path / name) for name in names]
    assert results[0] == results[1] == results[2]
    states = [latest(tmp_path / name)[0] for name in names]
    first, *others = (state.strategy for state in states if state is not None)
    assert all(alike(first, other) for other in others)


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
