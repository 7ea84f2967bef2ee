"""A run that several files look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import execute
from tests.strategies.bottom_up import SMALL


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two tasks, all stages kept."""
    path = tmp_path_factory.mktemp("bu")
    options = ["strategy=tickets_bu", "tasks=2", "keep=all", "strategy.round_epochs=1"]
    options += ["strategy.memory=20"]
    options += ["strategy.most_rounds=3", "strategy.prune_fraction=0.4", "strategy.decide_on=test"]
    assert execute(path, *SMALL, *options) == 0
    return path
