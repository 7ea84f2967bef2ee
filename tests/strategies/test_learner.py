"""How a method makes, keeps and steps its optimizer."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong.optim import inverse_time
from lifelong.strategies import Strategy
from tests.conftest import execute, toy_visit
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
    idle = {id(p) for p in made.network.heads.head_for(0).parameters()}  # no batch reaches it
    assert {id(p) for p in held} == {id(p) for p in made.parameters()} - idle
    assert len(held) == len(list(made.parameters())) - len(idle)
    assert made.optimizer_state().keys() == dict(made.named_parameters()).keys()
    # 0.1 / (1 + 0.5 * 2) at the third epoch of the stream, however often it was set up; one group.
    assert [group["lr"] for group in again.param_groups] == [pytest.approx(0.05)]
    made.lifetime = "task"
    assert optimizer_of(made) is not first


def leaves(value: Any, name: str = "") -> dict[str, torch.Tensor]:
    if torch.is_tensor(value):
        return {name: value}
    inside = value.items() if isinstance(value, dict) else ()
    return {k: v for key, each in inside for k, v in leaves(each, f"{name}.{key}").items()}


@pytest.mark.parametrize(
    "options",
    [
        ["strategy=ewc", "strategy.strength=20"],
        ["strategy=mas", "optimizer=sgd_momentum", "optimizer_lifetime=stream"],
        ["strategy=finetune", "optimizer=tag_rmsprop", "optimizer_lifetime=stream"],
        ["strategy=hps", "optimizer=adam", "optimizer_groups={heads:{lr:0.01}}"],
        ["strategy=finetune", "optimizer_lifetime=stream", "data.blurry=0.2"],
    ],
)
def test_heads_that_are_passed_over_change_nothing(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, importances and the optimizer's state, bit for bit; a task comes again."""
    given = ["data=digits", "data.order=[1,2,3,1]", "epochs=2", "data.fraction=0.3", "heads=multi"]
    found = []
    for folder in (tmp_path / "passed", tmp_path / "whole"):
        assert execute(folder, *given, "logger=none", "batch_size=32", *options) == 0
        found.append(leaves(torch.load(folder / "visit_04.ckpt", weights_only=True)))
        monkeypatch.setattr(Strategy, "idle_parameters", lambda self: [])
    assert found[0].keys() == found[1].keys()
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name


def test_a_method_of_ones_own_steps_all_heads() -> None:
    class Mine(Strategy):
        """It may move any of them."""

    for kind, idle in ((Strategy, True), (Mine, False)):
        made = strategy(partial(torch.optim.SGD, lr=0.1))
        made.__class__ = kind
        made.begin_task(toy_visit(1))
        assert bool(made.idle_parameters()) == idle
    made.__class__ = Strategy
    made.serves_others = True  # as joint training does
    assert not made.idle_parameters()
