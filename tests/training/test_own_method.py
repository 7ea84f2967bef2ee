"""What a method of one's own may do: hooks, teachers, state of any shape, any numbers."""

from __future__ import annotations

import copy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lifelong
from lifelong.data import Batch, Visit
from lifelong.data.sources import digits
from lifelong.networks import MultiHead, Network
from lifelong.optim.task_optimizer import of_groups, reset_groups, same
from lifelong.storage.checkpoint import latest
from lifelong.strategies import Strategy
from lifelong.training.refusals import _refuse_cut_hooks, _refuse_groups
from tests.conftest import small_body, toy_task

FAST: dict[str, Any] = {
    "epochs": 2, "logger": "none", "trainer": "cpu", "checkpoint_every": 1, "data": "digits",
    "tasks": 3, "optimizer": "sgd", "lr": 0.05, "backbone": "mlp",
}  # fmt: skip
SGD = partial(torch.optim.SGD, lr=0.1)


class Counts(torch.optim.SGD):
    """Keeps more than numbers in its groups."""

    def step(self, closure: Any = None) -> Any:
        for group in self.param_groups:
            group["seen"] = group.get("seen", torch.zeros(2)) + 1
            group["rates"] = [*group.get("rates", []), group["lr"] / (1 + float(group["seen"][0]))]
            group["lr"] = group["rates"][-1]
        return super().step(closure)


class Brings(lifelong.Strategy):
    """All that a kill must not change."""

    stop_at: int | None = None

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.register_buffer("means", torch.zeros(0, 64))
        self.kept = nn.ParameterList()  # a module with buffers of its own
        self.sums: dict[str, Tensor] = {}
        self.teacher: nn.Module | None = None
        self.steps: list[tuple[int, int]] = []

    def get_extra_state(self) -> dict[str, Any]:
        return {"sums": dict(self.sums), "steps": list(self.steps)}  # as PyTorch's pages say

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.sums, self.steps = dict(state["sums"]), list(map(tuple, state["steps"]))

    def begin_task(self, visit: Visit) -> None:
        if visit.number > 1:
            self.teacher = copy.deepcopy(self.network).requires_grad_(False).eval()
        super().begin_task(visit)
        self.network.body.eval()  # to compute something, and put back
        self.network.body.train()

    def training_loss(self, batch: Batch) -> Tensor:
        if type(self).stop_at == self.steps_trained:
            raise KeyboardInterrupt
        assert self.teacher is None or not any(m.training for m in self.teacher.modules())
        assert self.network.training
        self.steps.append((self.current_epoch, self.global_step))
        return super().training_loss(batch)

    def end_task(self, visit: Visit, loader: Any) -> None:
        self.means = torch.cat([self.means, batch_mean(loader)[None]])
        self.kept.register_buffer(f"late_{visit.number}", torch.full((visit.number,), 2.0))
        self.sums[str(visit.number)] = self.means.sum()
        self.method["mean"] = np.float64(self.means.mean())
        self.method["means"] = self.means.mean(1)
        if visit.number == 2:
            self.network.body.requires_grad_(False)


def batch_mean(loader: Any) -> Tensor:
    found = torch.cat([batch.x.flatten(1) for batch in loader])
    return found.mean(0)


@pytest.mark.parametrize("at", [40, 58])  # inside the second visit, and the third
def test_a_run_goes_on_with_all_that_a_method_brings(tmp_path: Path, at: int) -> None:
    whole = lifelong.learn(strategy=Brings, paths={"output_dir": tmp_path / "whole"}, **FAST)
    cut = {"strategy": Brings, "paths": {"output_dir": tmp_path / "cut"}, **FAST}
    Brings.stop_at = at
    try:
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            lifelong.learn(**cut)
    finally:
        Brings.stop_at = None
    run = lifelong.learn(**cut, resume="auto")
    assert run.results["accuracy"] == whole.results["accuracy"]
    assert run.results["method"] == whole.results["method"]
    assert run.strategy.means.shape == (3, 64)
    one, other = (latest(tmp_path / name)[0].strategy for name in ("whole", "cut"))
    assert same(one, other)
    assert not any(p.requires_grad for p in run.strategy.network.body.parameters())
    assert run.strategy.steps == whole.strategy.steps
    steps = [step for _, step in run.strategy.steps]
    begins = [place for place, step in enumerate(steps) if step == 0]
    assert len(begins) == 3  # a round each, and none begins in the middle
    assert steps[: begins[1]] == list(range(begins[1]))
    assert {epoch for epoch, _ in run.strategy.steps} == {0, 1}


def test_what_an_optimizer_keeps_in_its_groups_is_known() -> None:
    p = nn.Parameter(torch.ones(2))
    optimizer = Counts([p], lr=0.1)
    made = of_groups(optimizer)
    p.grad = torch.ones(2)
    optimizer.step()
    now = of_groups(optimizer)
    assert not same(made, now)
    assert now[None]["seen"].tolist() == [1, 1]
    reset_groups(optimizer, made)  # as at the begin of an epoch, if the state lasts for one
    assert same(of_groups(optimizer), made)


def test_an_optimizer_of_tasks_is_told_without_super() -> None:
    """`end_task` of the page on methods of one's own does not call it."""

    class Silent(Strategy):
        def end_task(self, visit: Visit, loader: Any) -> None:
            self.ended = visit.number

    made = Silent(Network(small_body(), MultiHead), partial(lifelong.TAG, lr=0.1))
    visit = Visit(1, toy_task(), True)
    made.lifetime = "stream"
    made.begin_task(visit)
    made.configure_optimizers()
    made.training_loss(visit.train[torch.arange(6)]).backward()
    made.optimizer.step()
    made.close_task(visit, [])  # type: ignore[arg-type]
    assert made.ended == 1
    first = made.optimizer.param_groups[0]["params"][0]
    assert made.optimizer.state[first]["tasks"] == 1


class Cut(Strategy):
    def on_train_epoch_end(self) -> None:
        self.ended = True


class Decorated(Strategy):
    @torch.no_grad()
    def on_train_epoch_end(self) -> None:
        def inner() -> None:
            super(Decorated, self).on_train_epoch_end()

        inner()


class Manual(Strategy):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.automatic_optimization = False


def test_hooks_that_cut_off_those_of_the_learner_are_refused() -> None:
    network = Network(small_body(), MultiHead)
    with pytest.raises(ValueError, match=r"Cut\.on_train_epoch_end takes .*super\(\)\.on_train_ep"):
        _refuse_cut_hooks(Cut(network, SGD))
    _refuse_cut_hooks(Decorated(network, SGD))
    _refuse_cut_hooks(lifelong.ER(network, SGD))
    with pytest.raises(ValueError, match="automatic_optimization=False leaves"):
        _refuse_cut_hooks(Manual(network, SGD))


class Critic(Strategy):
    def __init__(self, *given: Any) -> None:
        super().__init__(*given)
        self.critic = nn.Linear(2, 2)


def test_groups_may_be_of_modules_beside_the_network() -> None:
    made = Critic(Network(small_body(), MultiHead), SGD)
    made.groups = {"critic": {"lr": 0.1}}
    stream = lifelong.by_class(digits(), shape=[1, 8, 8], tasks=5, name="d", batch_size=16)
    _refuse_groups(made, stream)
    made.groups = {"actor": {"lr": 0.1}}
    with pytest.raises(ValueError, match=r"optimizer_groups\.actor: no parameter"):
        _refuse_groups(made, stream)


class Late(lifelong.Strategy):
    def end_task(self, visit: Visit, loader: Any) -> None:
        self.scale = nn.Parameter(torch.ones(1))


class Listed(lifelong.Strategy):
    def rounds(self, visit: Visit) -> Any:
        return [lifelong.Round()]


class Nothing(lifelong.Strategy):
    def training_loss(self, batch: Batch) -> Any:
        super().training_loss(batch)


class Headless(lifelong.Strategy):
    def begin_task(self, visit: Visit) -> None:
        type(visit).begin_task = None  # type: ignore[attr-defined] # speaks of it, calls nothing


class Arrays(lifelong.Strategy):
    def get_extra_state(self) -> dict[str, Any]:
        return {"means": np.zeros(3)}

    def set_extra_state(self, state: dict[str, Any]) -> None: ...


class Sets(lifelong.Strategy):
    def end_task(self, visit: Visit, loader: Any) -> None:
        self.method["chosen"] = {1, 2}


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Late, r"strategy=Late: has made the parameter \[1\] scale while it learned"),
        (Listed, r"strategy=Listed: its rounds gives a list; write it with yield"),
        (Nothing, r"strategy=Nothing: its training_loss gives a NoneType"),
        (Headless, r"strategy=Headless: its begin_task does not call super"),
        (Arrays, r"_extra_state\.means: a ndarray cannot be kept in a checkpoint"),
        (Sets, r"method\.chosen: results\.json cannot say a set"),
    ],
)
def test_what_could_not_be_carried_is_told(tmp_path: Path, kind: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lifelong.learn(strategy=kind, paths={"output_dir": tmp_path / "run"}, **FAST)


class Turned(Strategy):
    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return -super().forward(x, t)


def test_a_methods_own_forward_answers_without_the_task_too() -> None:
    network = Network(small_body(), MultiHead)
    plain, turned = Strategy(network, SGD), Turned(network, SGD)
    for number in (0, 1):
        visit = Visit(number + 1, toy_task(number), False)
        plain.begin_task(visit)
        turned.begin_task(visit)
    x = torch.randn(5, 2, 6, 6)
    one, other = plain.predict(x), turned.predict(x)
    torch.testing.assert_close(one.scores, -other.scores)
    assert torch.equal(one[1], other[1])


class EWC(Strategy):
    """Of the name of one of ours."""


def test_a_class_of_a_known_name_is_no_member() -> None:
    from lifelong.training.learn import _base_of

    assert _base_of(EWC) == "finetune"
    assert _base_of(type("ER", (lifelong.ER,), {})) == "er"
