"""Fisher information against one backward pass for each image or batch."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lifelong.parts.fisher import Fisher
from lifelong.strategies import EWC
from tests.conftest import toy_visit
from tests.strategies.loops import made


@pytest.mark.parametrize("labels", ["given", "predicted", "sampled"])
def test_ewc_labels_one_image_at_a_time(labels: str) -> None:
    strategy = made(EWC, importance=Fisher(labels=labels, samples=None))
    strategy.eval()
    visit = toy_visit(0, n=9)
    for part in (visit.train, visit.task.val, visit.task.test):
        part.x, part.scale, part.shift = part.x.double(), part.scale.double(), part.shift.double()
    torch.manual_seed(8)
    order = torch.randperm(len(visit.train))
    batch = visit.train[order]
    scores = strategy.network.logits(batch.x.to(torch.double), 0)
    drawn = torch.multinomial(scores.softmax(1), 1)[:, 0]
    y = {"given": batch.y, "predicted": scores.argmax(1), "sampled": drawn}[labels]
    name, p = next(iter(strategy.regularized_params().items()))
    expected = torch.zeros_like(p)
    for image, label in zip(batch.x, y, strict=True):
        loss = F.cross_entropy(strategy.network.logits(image[None].double(), 0), label[None])
        expected += torch.autograd.grad(loss, p)[0] ** 2 / len(y)
    torch.manual_seed(8)
    strategy.float().double()
    found = strategy.importance_of(visit)[name]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-9)


def test_ewc_of_the_survey_squares_sums() -> None:
    strategy = made(EWC, importance=Fisher(estimator="batched", batch_size=5, samples=None)).float()
    strategy.eval()
    visit = toy_visit(0, n=9)
    name, p = next(iter(strategy.regularized_params().items()))
    torch.manual_seed(4)
    order = torch.randperm(9)
    expected = torch.zeros_like(p)
    for rows in order.split(5):
        batch = visit.train[rows]
        loss = F.cross_entropy(strategy.network.logits(batch.x, 0), batch.y, reduction="sum")
        expected += torch.autograd.grad(loss, p)[0] ** 2 / 9
    torch.manual_seed(4)
    torch.testing.assert_close(strategy.importance_of(visit)[name], expected)
