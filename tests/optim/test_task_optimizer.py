"""Optimizers that outlive a task, and options by words of parameters' names."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong.networks import MultiHead, Network
from lifelong.optim import TAG
from lifelong.strategies import MAS, Strategy
from tests.conftest import execute, small_body, toy_visit
from tests.strategies.optimizing import optimizer_of, strategy
from tests.test_contract import FAST, assert_resumes


def test_an_optimizer_with_a_memory_is_told_of_epochs_and_tasks() -> None:
    made = strategy(partial(TAG, lr=0.1, rule="adam"))
    made.lifetime = "stream"
    optimizer = optimizer_of(made)
    for parameter in made.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    state = optimizer.state[next(made.parameters())]
    assert state["step"] == 1
    made.on_train_epoch_start()
    assert (state["step"], state["tasks"]) == (0, 0)
    made.close_task(toy_visit(0), [])  # type: ignore[arg-type]
    assert state["tasks"] == 1


GROUPS = {"bias": {"lr": 0.0}, "heads": {"lr": 0.5, "weight_decay": 0.1}}


def trained(lifetime: Any, groups: Any) -> dict[str, float]:
    """The rate of each parameter in the second task."""
    made = Strategy(Network(small_body(), MultiHead), partial(torch.optim.SGD, lr=0.1))
    made.groups, made.lifetime = groups, lifetime
    for index in range(2):
        made.begin_task(toy_visit(index))
        made.configure_optimizers()
    return {name: made.lr_of(p) for name, p in made.network.named_parameters()}


@pytest.mark.parametrize("lifetime", ["task", "stream"])
def test_the_first_word_that_fits_decides(lifetime: str) -> None:
    rates = trained(lifetime, GROUPS)
    assert any(name.startswith("heads.all.1") for name in rates)
    for name, rate in rates.items():
        wanted = 0.0 if name.endswith("bias") else 0.5 if name.startswith("heads.") else 0.1
        assert rate == wanted, name
    assert set(trained(lifetime, {}).values()) == {0.1}


def test_a_step_by_hand() -> None:
    made = Strategy(Network(small_body(), MultiHead), partial(torch.optim.SGD, lr=0.1))
    made.groups = GROUPS
    visit = toy_visit(0)
    made.begin_task(visit)
    optimizer = made.configure_optimizers()["optimizer"]
    made.training_loss(visit.train[torch.arange(8)]).backward()
    before = {name: p.detach().clone() for name, p in made.network.named_parameters()}
    optimizer.step()
    for name, p in made.network.named_parameters():
        rate, decay = (0.5, 0.1) if name.startswith("heads.") else (0.1, 0.0)
        rate = 0.0 if name.endswith("bias") else rate
        expected = before[name] - rate * (p.grad + decay * before[name])
        torch.testing.assert_close(p.detach(), expected)


def test_the_proximal_step_goes_with_the_rate_of_its_weights() -> None:
    made = MAS(
        Network(small_body(), MultiHead), partial(torch.optim.SGD, lr=0.1), penalty="proximal"
    )
    made.groups = {"bias": {"lr": 0.3}}
    for index in range(2):
        made.begin_task(toy_visit(index))
    made.configure_optimizers()
    for name in made.regularized_params():
        made.anchor.importance(name).fill_(2.0)
    before = {name: p.detach().clone() for name, p in made.regularized_params().items()}
    made.on_train_batch_end(None, toy_visit(1).train[torch.arange(2)], 0)
    for name, p in made.regularized_params().items():
        c = 2 * (0.3 if name.endswith("bias") else 0.1) * made.strength * 2.0
        expected = (before[name] + c * made.anchor.weight(name)) / (1 + c)
        torch.testing.assert_close(p.detach(), expected)


@pytest.mark.parametrize(
    "options",
    [
        ["optimizer=sgd", "lr=0.05", "optimizer.momentum=0.8"],
        ["optimizer=adam", "lr=0.003", "optimizer_lifetime=stream"],
        ["optimizer=tag_rmsprop", "lr=0.0005", "optimizer.group=global"],
    ],
)
def test_resumes_bit_equal(tmp_path: Path, options: list[str]) -> None:
    given = [*FAST, "strategy=finetune", "heads=multi", "epochs=4", "checkpoint_every=2", *options]
    given += ["optimizer_groups={heads:{lr:0.01},bias:{lr:0.002}}"]
    assert_resumes(tmp_path, given, 5)


@pytest.mark.parametrize("lifetime", ["task", "stream"])
def test_several_rules_resume_bit_equal(tmp_path: Path, lifetime: str) -> None:
    given = [*FAST, "strategy=ewc", "heads=multi", "epochs=4", "checkpoint_every=2"]
    given += [
        "optimizer=sgd",
        "lr=0.05",
        "optimizer.momentum=0.8",
        f"optimizer_lifetime={lifetime}",
    ]
    given += ["optimizer_groups={heads:{rule:Adam,lr:0.01},bias:{rule:Adagrad,lr:0.02}}"]
    assert_resumes(tmp_path, given, 5)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ("{hedas:{lr:0.1}}", "optimizer_groups.hedas: no parameter has that word"),
        ("{heads:{rate:0.1}}", "optimizer_groups.heads.rate: the optimizer has"),
        ("{heads:{lr:fast}}", "optimizer_groups.heads.lr=fast: give a value such as"),
        ("{heads:{momentum:2.0}}", "optimizer_groups.heads.momentum=2.0: give a value such as 0"),
        ("{heads:{nesterov:maybe}}", "optimizer_groups.heads.nesterov=maybe: give a value such as"),
        ("{heads:{}}", "optimizer_groups.heads.{}: the optimizer has"),
        ("{heads:3}", "give options by a word of parameters' names"),
        ("3", "optimizer_groups=3: give options by a word"),
    ],
)
def test_refusals(tmp_path: Path, groups: str, message: str, capsys: Any) -> None:
    given = [*FAST, "strategy=finetune", "optimizer=sgd", f"optimizer_groups={groups}"]
    assert execute(tmp_path, *given) == 2
    assert message in capsys.readouterr().err


def test_methods_with_one_rate_refuse(tmp_path: Path, capsys: Any) -> None:
    given = [*FAST, "strategy=den", "heads=multi", "optimizer_groups={heads:{lr:0.1}}"]
    assert execute(tmp_path, *given) == 2
    assert "DEN cannot do that: its thresholds" in capsys.readouterr().err
