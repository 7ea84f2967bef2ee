"""How far a network's answers depend on its weights (MAS spec, section 10)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from lifelong.data import Visit
from lifelong.networks import MultiHead, Network
from lifelong.parts.fisher import Fisher
from lifelong.parts.sensitivity import Sensitivity
from lifelong.strategies import MAS
from tests.conftest import images, small_body, toy_task, toy_visit
from tests.strategies.penalties import importances, mas

SGD = partial(torch.optim.SGD, lr=0.1)
NONE: Any = []  # instead of a loader that is not used


def test_dropout_and_gradients_are_left_alone() -> None:
    """The importance is that of evaluation mode, and nothing of it stays behind."""
    visit = toy_visit(0)
    found = []
    for seed in (0, 1):
        made = mas()
        torch.manual_seed(seed)
        made.end_task(visit, NONE)
        found.append(importances(made))
        assert made.training
        assert all(p.grad is None for p in made.parameters())
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name])
    assert any(value.any() for value in found[0].values())


def test_importance_in_double_precision_and_of_batches_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visit = toy_visit(0)
    found = []
    for pixels, precision in ((2**20, torch.float), (1, torch.float), (2**20, torch.double)):
        monkeypatch.setattr("lifelong.parts.sensitivity.PIXELS", pixels)
        made = mas().to(precision)
        made.end_task(visit, NONE)
        found.append(importances(made))
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name])
        torch.testing.assert_close(value, found[2][name].float())


@pytest.mark.parametrize("part", ["train", "val", "test", "train+test"])
def test_data_and_samples(part: Any) -> None:
    visit = toy_visit(0, n=24)
    made = mas(importance=Sensitivity(images=part, samples=7))
    batches = list(made.importance._batches(made.importance._drawn(visit)))
    assert sum(len(batch.y) for batch in batches) == 7
    made = mas(importance=Sensitivity(images=part))
    count = {"train": 24, "val": 12, "test": 12, "train+test": 36}[part]
    made.end_task(visit, NONE)
    assert made.images == made.importance.count == count


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Sensitivity, {"samples": 0}, "samples=0"),
        (Sensitivity, {"batch_size": 0}, "batch_size=0"),
        (Sensitivity, {"images": "nowhere"}, "images=nowhere: give train, val"),
        (Fisher, {"samples": 0}, "samples=0"),
        (Fisher, {"batch_size": 0}, "batch_size=0"),
    ],
)
def test_the_importance_refuses(kind: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"strategy\.importance.*{message}"):
        kind(**options)


def test_importance_of_a_persons_own_images(tmp_path: Path) -> None:
    """Two constant images in a folder stand for the task's."""
    for name, value in (("a", 40), ("b", 200)):
        Image.new("L", (8, 8), value).save(tmp_path / f"{name}.png")
    torch.manual_seed(3)
    body = small_body((1, 8, 8))
    made = MAS(Network(body, MultiHead), SGD, importance=Sensitivity(images=str(tmp_path)))
    task = replace(toy_task(0), train=images(6, (1, 8, 8)))
    visit = Visit(1, task, False)
    made.begin_task(visit)
    made.end_task(visit, NONE)
    name, p = next(iter(made.regularized_params().items()))
    expected = torch.zeros_like(p)
    made.eval()
    for value in (40.0, 200.0):
        scores = made.network.logits(torch.full((1, 1, 8, 8), value), 0)
        expected += torch.autograd.grad(scores.square().sum(), p)[0].abs() / 2
    torch.testing.assert_close(made.anchor.importance(name), expected)


@pytest.mark.parametrize("estimator", ["exact", "batched"])
def test_each_score_adds_up_the_gradients_of_the_scores(estimator: Any) -> None:
    made = mas(importance=Sensitivity(objective="each_score", estimator=estimator, batch_size=24))
    visit = toy_visit(0)
    made.eval()
    name, p = next(iter(made.regularized_params().items()))
    expected = torch.zeros_like(p)
    groups = torch.arange(24).split(1 if estimator == "exact" else 24)
    for rows in groups:
        for label in range(3):
            scores = made.network.logits(visit.train[rows].x, 0)[:, label].mean()
            expected += torch.autograd.grad(scores, p)[0].abs() / len(groups)
    torch.testing.assert_close(made.importance_of(visit)[name], expected)
