"""ER against plain steps (TAG spec, check 9.8)."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lifelong.strategies import ER
from tests.conftest import toy_visit
from tests.strategies.steps import batch, network

SGD = partial(torch.optim.SGD, lr=0.1)


@pytest.mark.parametrize("fidelity", ["clean", "authors"])
def test_er_adds_the_loss_of_a_memory_batch_from_the_second_task_on(fidelity: Any) -> None:
    made = ER(network(), SGD, memory=6, fidelity=fidelity)
    first, second = toy_visit(0), toy_visit(1)
    made.begin_task(first)
    old, new = batch(first), batch(second)
    torch.testing.assert_close(made.training_loss(old), F.cross_entropy(made(old.x, old.t), old.y))
    made.begin_task(second)
    expected = F.cross_entropy(made(new.x, new.t), new.y)
    expected = expected + F.cross_entropy(made(old.x, old.t), old.y)  # all six are in the memory
    torch.testing.assert_close(made.training_loss(new), expected)


def test_er_of_the_authors_may_draw_images_of_the_current_task() -> None:
    for fidelity, allowed in (("clean", {0}), ("authors", {0, 1})):
        made = ER(network(), SGD, memory=40, fidelity=fidelity)  # type: ignore[arg-type]
        for visit in (toy_visit(0), toy_visit(1)):
            made.begin_task(visit)
            made.memory.add(batch(visit))
        drawn, _ = made.memory.sample(40, without=None if made.authors else 1)
        assert set(drawn.t.tolist()) == allowed
