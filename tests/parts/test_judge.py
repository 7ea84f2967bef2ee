"""On which images accuracies are taken that decide."""

from __future__ import annotations

import torch

from tests.conftest import toy_visit
from tests.strategies.bottom_up import made


def test_deciding_on_test_images_is_asked_for_and_said() -> None:
    method = made(decide_on="test", most_rounds=2, base_sparsity=0)
    visit = toy_visit(0)
    method.begin_task(visit)
    rounds = method.rounds(visit)
    dense = next(rounds)
    assert dense.score_on is not None
    assert torch.equal(dense.score_on.x, visit.task.test.x)
    assert dense.val is None  # the best epoch is that on validation images all the same
    pruned = rounds.send({"val/best": 0.1, "score": 0.9})
    assert method.method["decisions"]["1"]["dense"] == 0.9
    assert torch.equal(pruned.val.x, visit.task.test.x)  # type: ignore[union-attr]
    assert method.method["decide_on"] == "test"
    method = made()
    method.begin_task(visit)
    assert next(method.rounds(visit)).score_on is None
