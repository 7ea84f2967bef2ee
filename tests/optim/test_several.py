"""Optimizers of different rules that act as one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong.networks import MultiHead, Network
from lifelong.strategies import Strategy
from tests.conftest import execute, small_body, toy_visit
from tests.test_contract import FAST


@pytest.mark.parametrize(
    ("optimizer", "group", "message"),
    [
        ("sgd", "{rule:Adm,lr:0.1}", "optimizer_groups.heads.rule=Adm: give a class of torch"),
        ("sgd", "{rule:Optimizer,lr:0.1}", "rule=Optimizer: give a class of torch.optim"),
        ("sgd", "{rule:LBFGS,lr:0.1}", "rule=LBFGS: give a class of torch.optim"),
        ("sgd", "{rule:Adam}", "optimizer_groups.heads.lr: another rule needs a learning rate"),
        ("sgd", "{rule:Adam,lr:0.1,momentum:0.9}", "heads.momentum: the optimizer has amsgrad"),
        ("tag_rmsprop", "{rule:Adam,lr:0.1}", "rule=Adam: TAG steps all parameters"),
    ],
)
def test_rules_that_are_none(
    tmp_path: Path, optimizer: str, group: str, message: str, capsys: Any
) -> None:
    given = [*FAST, "strategy=finetune", f"optimizer={optimizer}"]
    assert execute(tmp_path, *given, f"optimizer_groups={{heads:{group}}}") == 2
    assert message in capsys.readouterr().err


RULES: dict[str, tuple[Any, float]] = {
    "heads": (torch.optim.Adam, 0.02),
    "bias": (torch.optim.Adagrad, 0.3),
    "": (torch.optim.SGD, 0.1),
}


class Twins:
    """A copy of each parameter with an optimizer of its own."""

    def __init__(self) -> None:
        self.all: dict[str, torch.nn.Parameter] = {}
        self.optimizers: dict[str, torch.optim.Optimizer] = {}

    def meet(self, network: Network) -> None:
        for name, p in network.named_parameters():
            if name not in self.all:
                rule, rate = RULES[group_of(name)]
                self.all[name] = torch.nn.Parameter(p.detach().clone())
                self.optimizers[name] = rule([self.all[name]], lr=rate)

    def step(self, network: Network, epoch: int) -> None:
        for name, p in network.named_parameters():
            self.all[name].grad = None if p.grad is None else p.grad.clone()
            rate = RULES[group_of(name)][1] * halved(epoch)
            self.optimizers[name].param_groups[0]["lr"] = rate
            self.optimizers[name].step()


def group_of(name: str) -> str:
    return "heads" if "heads." in name else "bias" if name.endswith("bias") else ""


def test_groups_of_other_rules_are_stepped_by_them() -> None:
    """As by optimizers of their own, with their schedules, across tasks."""
    network, twins = Network(small_body(), MultiHead), Twins()
    made = Strategy(network, partial(torch.optim.SGD, lr=0.1), halved)
    made.groups = {"heads": {"rule": "Adam", "lr": 0.02}, "bias": {"rule": "Adagrad", "lr": 0.3}}
    made.lifetime = "stream"
    for epoch in range(4):
        visit = toy_visit(epoch // 2)
        if epoch % 2 == 0:
            made.begin_task(visit)
            twins.meet(network)
            found = made.configure_optimizers()
        for _ in range(3):
            found["optimizer"].zero_grad()
            made.training_loss(visit.train[torch.arange(8)]).backward()
            twins.step(network, epoch)
            found["optimizer"].step()
        made.scheduled += 1
        found["lr_scheduler"].step()
    for name, p in network.named_parameters():
        torch.testing.assert_close(p.data, twins.all[name].data, rtol=0, atol=0)


def halved(epoch: int) -> float:
    return 0.5**epoch
