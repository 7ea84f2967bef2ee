"""A penalty's strength, halved until the task is learned."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from lifelong.networks import MultiHead, Network
from lifelong.strategies import MAS, SI, Round
from tests.conftest import small_body, toy_visit

SGD = partial(torch.optim.SGD, lr=0.1)


@pytest.mark.parametrize("method", [MAS, SI])
def test_strength_is_halved_until_the_task_is_learned(method: Any) -> None:
    """Without the penalty, then with it from the same start, down to the share of accuracy."""
    torch.manual_seed(3)
    made = method(Network(small_body(), MultiHead), SGD, strength=8.0, halve_below=0.8)
    made.begin_task(toy_visit(0))
    assert list(made.rounds(toy_visit(0))) == [Round()]
    made.begin_task(toy_visit(1))
    start = {name: p.detach().clone() for name, p in made.network.named_parameters()}
    rounds = made.rounds(toy_visit(1))
    assert next(rounds) == Round("without penalty")
    assert not made.penalty_active
    for attempt, accuracy in enumerate((0.5, 0.39, 0.39, 0.4)):
        for p in made.network.parameters():
            p.data.add_(1.0)
        if attempt == 3:
            with pytest.raises(StopIteration):
                rounds.send({"val/best": accuracy})
            break
        assert rounds.send({"val/best": accuracy}) == Round(f"attempt {attempt + 1}")
        assert made.penalty_active
        assert made.strength == 8.0 / 2**attempt
        for name, p in made.network.named_parameters():
            assert torch.equal(p, start[name])
    assert made.strength == 2.0
    assert made.method["strengths"] == {"2": 2.0}
    again = method(Network(small_body(), MultiHead), SGD, strength=8.0, halve_below=0.8)
    for task in (0, 1):
        again.begin_task(toy_visit(task))
    again.load_state_dict(made.state_dict())
    assert again.strength == 2.0
