"""How a method makes, keeps and steps its optimizer."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from lifelong.optim import inverse_time
from tests.conftest import toy_visit
from tests.strategies.optimizing import optimizer_of, strategy


def test_an_optimizer_of_the_stream_takes_in_new_heads_and_keeps_its_rate() -> None:
    schedule = partial(inverse_time, decay=0.5)
    made = strategy(partial(torch.optim.Adam, lr=0.1), schedule=schedule)
    made.lifetime = "stream"
    first = optimizer_of(made)
    made.scheduled = 2
    made.begin_task(toy_visit(1))
    again = optimizer_of(made)
    assert again is first
    held = [p for group in again.param_groups for p in group["params"]]
    assert {id(p) for p in held} == {id(p) for p in made.parameters()}
    assert len(held) == len(list(made.parameters()))
    # 0.1 / (1 + 0.5 * 2) at the third epoch of the stream, however often it was set up; one group.
    assert [group["lr"] for group in again.param_groups] == [pytest.approx(0.05)]
    made.lifetime = "task"
    assert optimizer_of(made) is not first
