"""MAS: what is gathered over tasks, and what it saves from being forgotten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong.data import Images
from tests.conftest import execute, results_of, toy_visit
from tests.strategies.penalties import SMOKE, importances, mas

NONE: Any = []  # instead of a loader that is not used


def test_labels_do_not_matter_and_neither_does_repetition() -> None:
    visit = toy_visit(0)
    made = mas()
    made.end_task(visit, NONE)
    first = importances(made)
    train = visit.train
    other = Images(
        train.x.repeat(3, 1, 1, 1), torch.zeros(3 * len(train)).long(), train.t.repeat(3)
    )
    again = mas()
    again.end_task(replace(visit, task=replace(visit.task, train=other)), NONE)
    for name, value in importances(again).items():
        torch.testing.assert_close(value, first[name], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize(("accumulate", "expected"), [("sum", 6), ("running_mean", 3), ("ema", 3)])
def test_accumulation(accumulate: Any, expected: float) -> None:
    made = mas(accumulate=accumulate, alpha=0.5)
    name = next(iter(made.regularized_params()))
    for value in (2.0, 4.0):
        made.importance.count = 10
        made.accumulate_importance(name, torch.full_like(made.anchor.importance(name), value))
        made.images += 10
    assert (made.anchor.importance(name) == expected).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -1.0}, r"strategy.strength=-1.0"),
        ({"alpha": 2.0}, r"strategy.alpha=2.0"),
    ],
)
def test_refuses(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mas(**options)


def test_recomputing_is_summing_while_the_weights_stay() -> None:
    """All tasks' images under the weights as they are (MAS spec, 10.13)."""
    tasks = [toy_visit(0), toy_visit(1)]
    found = []
    for accumulate in ("sum", "recompute"):
        made = mas(accumulate=accumulate)
        made.end_task(tasks[0], NONE)
        made.begin_task(tasks[1])
        made._met = dict(enumerate(tasks)) if made._met else {}
        made.end_task(tasks[1], NONE)
        found.append(importances(made))
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name])


@pytest.mark.slow
def test_less_is_forgotten_on_digits(tmp_path: Path) -> None:
    """The thresholds of the specification (10.17), over two of its five seeds."""
    final: dict[str, list[float]] = {"finetune": [], "mas": []}
    lost: dict[str, list[float]] = {"finetune": [], "mas": []}
    for name, more in (("finetune", []), ("mas", ["strategy.strength=0.1"])):
        for seed in (1, 2):
            folder = tmp_path / f"{name}_{seed}"
            assert execute(folder, *SMOKE, f"strategy={name}", *more, f"seed={seed}") == 0
            metrics = results_of(folder)["metrics"]
            final[name].append(metrics["final_accuracy"])
            lost[name].append(-metrics["backward_transfer"])
    assert sum(lost["mas"]) <= sum(lost["finetune"]) - 2 * 0.02
    assert sum(final["mas"]) >= sum(final["finetune"])
