"""Importances of one's own, and what a report shows of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lifelong.data import Visit
from lifelong.measures.history import HISTOGRAM
from lifelong.parts.importance import Importance, statistics
from tests.conftest import execute, results_of


class Halved(Importance):
    """One's own: all weights matter by a half."""

    def __call__(self, network: Any, visit: Visit, named: Any) -> dict[str, Tensor]:
        return {name: torch.full_like(p, 0.5) for name, p in named.items()}


def test_an_importance_of_ones_own(tmp_path: Path) -> None:
    """Half the importance at twice the strength is the same penalty."""
    options = ["data=digits", "tasks=2", "epochs=1", "logger=none", "strategy=l2"]
    own = "strategy.importance._target_=tests.parts.test_importance.Halved"
    assert execute(tmp_path / "a", *options, "strategy.strength=2") == 0
    assert execute(tmp_path / "b", *options, "strategy.strength=4", own) == 0
    assert results_of(tmp_path / "a")["accuracy"] == results_of(tmp_path / "b")["accuracy"]


def test_what_a_report_shows_of_importances() -> None:
    of = {"a": torch.tensor([0.0, 1e-3, 10.0]), "b": torch.tensor([[1e-20]]), "c": torch.zeros(2)}
    found = statistics(of)
    assert found["zeros"] == 3
    assert found["shares"] == {"a": 1.0, "b": 0.0}
    first, last, steps = HISTOGRAM
    edges = torch.linspace(first, last, steps + 1)
    counts = torch.tensor(found["histogram"])
    assert counts.sum() == 3
    assert counts[0] == 1  # below the lowest
    for value in (-3.0, 1.0):
        assert counts[int((edges <= value).sum()) - 1] == 1


class Bare(nn.Module):
    """Of parameters without layers, whose gradients are taken image by image."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(64, 8) / 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x.flatten(1) @ self.w)


def test_a_trial_draws_nothing_in_the_head_of_the_task(tmp_path: Path) -> None:
    """Its dropout made the trial refuse bodies that draw nothing."""
    options = ["data=digits", "tasks=2", "epochs=1", "logger=none", "strategy=ewc", "heads=multi"]
    body = ["backbone=module", "backbone.module._target_=tests.parts.test_importance.Bare"]
    assert execute(tmp_path / "a", *options, *body, "heads.dropout=0.5") == 0
