"""Top-down tickets (Tickets spec, 5 and 11.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lifelong import load_run
from tests.conftest import execute, results_of, toy_task
from tests.strategies.top_down import lived, made


def test_rounds_and_densities_of_a_stream() -> None:
    method = made(pruning="release", round_epochs=7)
    masks = [method.masks.flat()]
    rounds = lived(method, 5)
    names = [[now.name for now in of_task] for of_task in rounds]
    assert names == [
        ["train"],
        ["train"],
        ["train"],
        ["pruning 1 of 2", "train"],
        ["pruning 1 of 3", "pruning 2 of 3", "train"]
        + [f"pruning {number} of 5" for number in range(1, 5)]
        + ["train"],
    ]
    for of_task in rounds:
        for now in of_task:
            pruning = now.name.startswith("pruning")
            assert (now.epochs, now.lr_scale) == ((7, 0.01) if pruning else (None, None))
            assert now.restore_best != pruning
    total, left = len(masks[0]), len(masks[0])
    for visit, count in enumerate((1, 1, 2, 3, 5), 1):
        for _ in range(count):
            left -= round(0.2 * left)
        assert method.method["remaining"][str(visit)] == pytest.approx(left / total, abs=1e-6)
    assert method.masks.kept() == left


def test_a_run_and_its_ticket(tmp_path: Path) -> None:
    options = ["data=digits", "strategy=tickets_td", "tasks=3", "epochs=4", "batch_size=64"]
    options += ["optimizer=adam", "lr=0.003", "logger=none", "strategy.memory=20"]
    options += ["strategy.pruning=[[0.5],[0.5],[0.5,0.5]]", "strategy.round_epochs=1"]
    assert execute(tmp_path, *options) == 0
    results = results_of(tmp_path)
    assert list(results["method"]["remaining"].values()) == [0.5, 0.25, 0.0625]
    assert min(results["accuracy"][2]) > 0.6
    assert list(results["method"]["measured_with"].values()) == [1.0, 0.5, 0.0625]
    before = results["accuracy_before_pruning"]
    assert before[0] == before[1] == [None] * 3
    assert min(before[2]) > 0.6
    assert before[2] != results["accuracy"][2]
    loaded: Any = load_run(tmp_path).strategy
    assert loaded.masks.remaining() == 0.0625
    for name, p in loaded.prunable().items():
        assert not p[~loaded.masks.keep[name]].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pruning": "most"}, r"strategy\.pruning=most: give release, paper_cifar10"),
        ({"pruning": [[1.0]]}, r"give shares from 0 to below 1"),
        ({"round_epochs": 0}, r"strategy\.round_epochs=0"),
    ],
)
def test_refuses(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**options)


def test_refuses_a_stream_that_is_longer() -> None:
    with pytest.raises(ValueError, match="has shares for 1 tasks; give one list for each of the 2"):
        made(pruning=[[0.2]]).check([toy_task(0), toy_task(1)])
