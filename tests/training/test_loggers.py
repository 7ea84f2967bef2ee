"""Where the curves of a run go."""

from __future__ import annotations

from pathlib import Path

import pytest

from lifelong.training.loggers import group_of
from tests.conftest import configured, execute
from tests.test_contract import Killed, die_at


def test_what_was_logged_before_a_checkpoint_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed goes on behind its checkpoint, and tells nothing of before once more."""
    options = ["strategy=finetune", "data=digits", "tasks=2", "epochs=4", "checkpoint_every=2"]
    options += ["data.fraction=0.2", "logger=csv", "trainer=cpu", "resume=auto"]
    for after, epochs in ((1, 2), (2, 4), (3, 6)):
        folder = tmp_path / str(after)
        with monkeypatch.context() as patch:
            die_at(patch, after)
            # The process is gone: nothing is closed.
            patch.setattr("lifelong.training.loggers.close", lambda *given: None)
            with pytest.raises(Killed):
                execute(folder, *options)
        lines = (folder / "logs" / "from_visit_01" / "metrics.csv").read_text().splitlines()
        steps = lines[0].split(",").index("step")
        assert {int(line.split(",")[steps]) for line in lines[1:]} == set(range(1, epochs + 1))


def test_wandb_averages_runs_that_differ_by_seeds_alone() -> None:
    """Whatever their folders are called."""
    plain = configured("data=digits", "strategy=ewc")
    for alike in (["seed=2"], ["seeds.init=5", "data.seed=9"], ["paths.output_dir=wb1"]):
        assert group_of(configured("data=digits", "strategy=ewc", *alike)) == group_of(plain)
    for other in (["strategy.strength=7"], ["lr=0.1"], ["evaluate=both"], ["data.tasks=2"]):
        assert group_of(configured("data=digits", "strategy=ewc", *other)) != group_of(plain)
