"""Where the curves of a run go."""

from __future__ import annotations

from lifelong.training.loggers import group_of
from tests.conftest import configured


def test_wandb_averages_runs_that_differ_by_seeds_alone() -> None:
    """Whatever their folders are called."""
    plain = configured("data=digits", "strategy=ewc")
    for alike in (["seed=2"], ["seeds.init=5", "data.seed=9"], ["paths.output_dir=wb1"]):
        assert group_of(configured("data=digits", "strategy=ewc", *alike)) == group_of(plain)
    for other in (["strategy.strength=7"], ["lr=0.1"], ["evaluate=both"], ["data.tasks=2"]):
        assert group_of(configured("data=digits", "strategy=ewc", *other)) != group_of(plain)
