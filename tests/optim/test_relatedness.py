"""How finished tasks are related to the current one, in TAG's steps."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from lifelong.optim import TAG
from tests.optim.vectors import vector


def test_relatedness_is_reported_as_the_mean_over_the_last_epoch() -> None:
    p, q = vector(1, -2), vector(3, 4, 5)
    optimizer = TAG([p, q], lr=0.01, b=1.0)
    for _ in range(3):
        for _ in range(2):
            optimizer.begin_epoch()
            seen = []
            for _ in range(4):
                for parameter in (p, q):
                    parameter.grad = torch.randn_like(parameter)
                optimizer.step()
                seen.append(torch.tensor(optimizer.relatedness).reshape(-1, 2).mean(1))
        expected = torch.stack(seen).mean(0)
        assert optimizer.report()["relatedness"] == pytest.approx(expected.tolist())
        optimizer.end_task()
    assert len(expected) == 2
    assert optimizer.report() == {"relatedness": []}


def test_global_cosines_are_those_of_the_whole_vector() -> None:
    split = [vector(1, -2), vector(3, 4, 5)]
    whole = vector(1, -2, 3, 4, 5)
    one, other = TAG(split, lr=0.1, b=1.0, group="global"), TAG([whole], lr=0.1, b=1.0)
    for _ in range(3):
        for _ in range(4):
            g = torch.randn(5, dtype=torch.double)
            split[0].grad, split[1].grad, whole.grad = g[:2].clone(), g[2:].clone(), g.clone()
            one.step()
            other.step()
        one.end_task()
        other.end_task()
    torch.testing.assert_close(torch.cat([p.detach() for p in split]), whole.detach())


def test_ablations() -> None:
    def weights(**options: Any) -> list[list[float]]:
        p = vector(1, -2)
        optimizer = TAG([p], lr=0.1, b=1.0, **options)
        for _ in range(3):
            for step in range(3):
                p.grad = torch.tensor([1.0, step], dtype=torch.double)
                optimizer.step()
            found = optimizer.relatedness
            optimizer.end_task()
        return found

    assert weights(weights="one") == [[1.0], [1.0]]
    assert weights(weights="age") == [[3.0], [2.0]]
    # The first gradients of all tasks are the same, so each cosine is 1.
    assert weights(weights="gradients", first_gradients=2) == [
        [pytest.approx(math.exp(-1))], [pytest.approx(math.exp(-1))]
    ]  # fmt: skip
    assert len(weights(max_history=1)) == 1
    assert weights(max_history=0) == []
