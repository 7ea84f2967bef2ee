"""Runs read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lifelong import load_run
from lifelong.finished.load import _built
from lifelong.strategies import Strategy
from tests.conftest import execute, results_of
from tests.finished.small_run import OPTIONS, images


@pytest.mark.parametrize("visit", [1, 2, 3, None])
def test_answers_as_the_run_did_after_each_visit(folder: Path, visit: int | None) -> None:
    run = load_run(folder, visit)
    assert run.visit == (3 if visit is None else visit)
    assert sorted(run.tasks) == list(range(run.visit))
    for task in run.tasks:
        test = images(run, task)
        labels = run.predict(test.x.numpy(), task)
        assert float((labels == test.y).double().mean()) == run.accuracy[run.visit - 1, task]


def test_what_is_kept(folder: Path) -> None:
    run = load_run(folder)
    names = run.names(images(run, 1).x[:3], 1)
    assert set(names) <= {"2", "3"}
    assert run.tasks[1].class_names == ("2", "3")
    assert run.importances.keys() == {n for n, _ in run.strategy.network.body.named_parameters(
        prefix="body"
    )}  # fmt: skip
    assert all(value.min() >= 0 for value in run.importances.values())
    rows = results_of(folder)["accuracy"]
    expected = [max(row[task] or 0 for row in rows) - rows[2][task] for task in range(3)]
    assert run.forgetting == pytest.approx(expected)
    assert run.results["metrics"]["forgetting"] == pytest.approx(sum(expected[:2]) / 2)
    assert not run.strategy.training


def test_the_global_random_state_is_left_alone(folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    load_run(folder)
    assert torch.equal(torch.rand(3), expected)


def test_refuses(folder: Path, tmp_path: Path) -> None:
    run = load_run(folder)
    for wrong, message in (
        (lambda: load_run(tmp_path), "holds no run"),
        (lambda: load_run(folder, visit=7), r"visit=7: .* has 1, 2, 3; runs with keep=all"),
        (lambda: run.predict(np.zeros((2, 1, 8, 8)), task=9), r"task=9: .*\[0, 1, 2\]"),
        (lambda: run.predict(np.zeros((2, 3, 8, 8)), task=0), r"the run learned \[n, 1, 8, 8\]"),
    ):
        with pytest.raises(ValueError, match=message):
            wrong()


class Weighted(Strategy):
    """A method of a person's own whose options have names that others read files by."""

    def __init__(
        self, network: Any, optimizer: Any, schedule: Any, weights: str = "equal",
        importance_data: str = "mine", unlabeled: float = 0.5,
    ) -> None:  # fmt: skip
        super().__init__(network, optimizer, schedule)
        self.method = {"given": [weights, importance_data, unlabeled]}


def test_options_are_read_back_as_they_were_given(tmp_path: Path) -> None:
    options = [
        "strategy=finetune",
        "strategy._target_=tests.finished.test_load.Weighted",
        "tasks=1",
    ]
    options += [
        "+strategy.weights=by_class",
        "+strategy.importance_data=x",
        "+strategy.unlabeled=2.0",
    ]
    assert execute(tmp_path, *OPTIONS, *options, "epochs=1") == 0
    run = load_run(tmp_path, trust=True)
    config = run.config.strategy
    assert [config.weights, config.importance_data, config.unlabeled] == ["by_class", "x", 2.0]
    assert _built(run.config).method == {"given": ["by_class", "x", 2.0]}
