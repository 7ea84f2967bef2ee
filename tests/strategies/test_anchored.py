"""Weights held near an anchor by their importance (MAS spec, section 10)."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import get_class
from torch import Tensor

from lifelong.networks import MultiHead, Network
from lifelong.strategies import Anchored
from tests.conftest import configured, execute, images, results_of, small_body, toy_visit
from tests.strategies.penalties import SMOKE, mas
from tests.test_contract import STRATEGIES

SGD = partial(torch.optim.SGD, lr=0.1)
NONE: Any = []  # instead of a loader that is not used


def test_heads_are_not_held() -> None:
    made = mas()
    assert all(name.startswith("body.") for name in made.regularized_params())
    assert len(made.regularized_params()) == 8


def stepped(penalty: str, by_hand: bool, strength: float = 3.0) -> list[Tensor]:
    """Weights after twenty steps of momentum SGD with weight decay on a second task."""
    made = mas(strength=0.0 if by_hand else strength, penalty=penalty)
    made.double()
    made.make_optimizer = partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=0.01)
    made.eval()  # without dropout
    for task in (0, 1):
        made.begin_task(toy_visit(task))
        if task == 0:
            generator = torch.Generator().manual_seed(0)
            for name in made.regularized_params():
                drawn = torch.rand(made.anchor.importance(name).shape, generator=generator)
                made.anchor.importance(name).copy_(drawn)
    made.double()
    made.anchor.move_to(made.regularized_params())
    optimizer = made.configure_optimizers()["optimizer"]
    data = images(30, task=1)
    for rows in torch.arange(30).repeat(4).split(6):
        batch = data[rows]
        batch = batch._replace(x=batch.x.double())
        optimizer.zero_grad()
        loss = made.training_loss(batch)
        if by_hand:
            loss = loss + strength * made.anchor.penalty(made.regularized_params())
        loss.backward()
        made.on_before_optimizer_step(None)
        optimizer.step()
    return [p.detach() for p in made.regularized_params().values()]


def test_the_gradient_added_is_that_of_the_penalty_in_the_loss() -> None:
    for added, in_loss in zip(stepped("gradient", False), stepped("gradient", True), strict=True):
        torch.testing.assert_close(added, in_loss, rtol=0, atol=1e-12)


def test_without_importance_it_is_fine_tuning(tmp_path: Path) -> None:
    """strength=0 gives the same results bit for bit, and so does the first task of any strength."""
    options = ["data=digits", "tasks=2", "epochs=2", "batch_size=32", "logger=none", "heads=multi"]
    chosen = {
        "plain": ["strategy=finetune"],
        "none": ["strategy=mas", "strategy.strength=0"],
        "some": ["strategy=mas", "strategy.strength=5"],
        "local": ["strategy=mas", "strategy.importance.scope=local"],
    }
    found = {}
    for name, more in chosen.items():
        assert execute(tmp_path / name, *options, *more) == 0
        state = torch.load(tmp_path / name / "visit_02.ckpt", weights_only=True)["strategy"]
        found[name] = results_of(tmp_path / name)["accuracy"], state["network.body.0.weight"]
    assert found["plain"][0] == found["none"][0]
    assert torch.equal(found["plain"][1], found["none"][1])
    assert found["plain"][0][0] == found["some"][0][0] == found["local"][0][0]
    assert not torch.equal(found["plain"][1], found["some"][1])
    assert not torch.equal(found["some"][1], found["local"][1])


def test_proximal_steps_hold_what_matters_and_nothing_else() -> None:
    made = mas(strength=1e12, penalty="proximal")
    name, p = next(iter(made.regularized_params().items()))
    made.begin_task(toy_visit(1))
    made.anchor.importance(name)[::2] = 1e-6
    made.anchor.move_to(made.regularized_params())
    before = p.detach().clone()
    optimizer = made.configure_optimizers()["optimizer"]
    made._trainer = None
    for _ in range(3):
        optimizer.zero_grad()
        made.training_loss(images(12, task=1)[torch.arange(12)]).backward()
        made.on_before_optimizer_step(None)
        optimizer.step()
        made.on_train_batch_end(None, NONE, 0)
    moved = (p.detach() - before).abs()
    assert moved[::2].max() < 1e-5
    assert moved[1::2].max() > 1e-4


@pytest.mark.parametrize("strength", [1.89, 1.91])
def test_the_bound_of_stability(strength: float) -> None:
    """One weight, rate 1, momentum 0.9: diverges from 1 + 0.9 on; lambda is half the curvature."""
    made = Anchored(Network(small_body(), MultiHead), SGD, strength=strength / 2)
    made.begin_task(toy_visit(0))
    made.begin_task(toy_visit(1))
    named = {"w": torch.nn.Parameter(torch.tensor([1.0], dtype=torch.double))}
    made._regularized = made._awake = named
    made.anchor.extend(named)
    made.anchor.importance("w").fill_(2.0)
    made.anchor.weight("w").zero_()
    optimizer = torch.optim.SGD(named.values(), lr=1.0, momentum=0.9)
    for _ in range(3000):
        named["w"].grad = torch.zeros_like(named["w"])
        made.on_before_optimizer_step(None)
        optimizer.step()
    assert (abs(float(named["w"].detach())) < 1e-3) == (strength < 1.9)


def test_the_penalty_acts_in_a_new_process(tmp_path: Path) -> None:
    """Importances are kept by name: a resumed run still holds (MAS spec, 9.1 and 10.12)."""
    options = ["data=digits", "tasks=2", "epochs=2", "batch_size=32", "logger=none"]
    options += ["strategy=mas", "optimizer=sgd", "lr=0.02", "strategy.penalty=proximal"]
    for name, strength in (("free", 0), ("held", 1e6)):
        folder = tmp_path / name
        assert execute(folder, *options, f"strategy.strength={strength}") == 0
        for left in ("visit_02.ckpt", "results.json"):
            (folder / left).unlink()
        config = (folder / "config.yaml").read_text()
        assert "strategy:" in config
        assert execute(folder, *options, f"strategy.strength={strength}", "resume=auto") == 0
    start, free, held = (
        torch.load(tmp_path / name, weights_only=True)["strategy"]["network.body.0.weight"]
        for name in ("free/visit_01.ckpt", "free/visit_02.ckpt", "held/visit_02.ckpt")
    )
    assert 0 < (held - start).norm() < 0.7 * (free - start).norm()
    state = torch.load(tmp_path / "held" / "visit_01.ckpt", weights_only=True)["strategy"]
    made = mas()
    for change in ({}, {"anchor.importance_body__9__weight": torch.zeros(2)}):
        damaged = {k: v for k, v in state.items() if k != "anchor.importance_body__0__weight"}
        with pytest.raises(RuntimeError, match="importance_body"):
            made.load_state_dict((damaged if not change else state) | change)


def test_a_new_task_leaves_the_head_of_another_alone() -> None:
    made = mas()
    made.end_task(toy_visit(0), NONE)
    before = [p.detach().clone() for p in made.network.heads.head_for(0).parameters()]
    made.begin_task(toy_visit(1))
    optimizer = made.configure_optimizers()["optimizer"]
    for _ in range(3):
        optimizer.zero_grad()
        made.training_loss(images(12, task=1)[torch.arange(12)]).backward()
        made.on_before_optimizer_step(None)
        optimizer.step()
    after = made.network.heads.head_for(0).parameters()
    assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))


def anchored() -> list[str]:
    """Strategies whose steps a penalty may make diverge."""
    named = {name: str(configured(f"strategy={name}").strategy._target_) for name in STRATEGIES}
    return [name for name, target in named.items() if issubclass(get_class(target), Anchored)]


@pytest.mark.parametrize("given", anchored())
def test_divergence_is_told_with_what_to_do(tmp_path: Path, capsys: Any, given: str) -> None:
    """In options that the method has."""
    options = [*SMOKE, f"strategy={given}", "strategy.strength=1e12", "tasks=2"]
    options += ["strategy.clip=null"] if given == "ewc" else []
    assert execute(tmp_path, *options) != 0
    message = capsys.readouterr().err
    assert "the training loss became" in message
    assert "a smaller strategy.strength or lr" in message
    advised = re.findall(r"(strategy\.\w+)(=\S+)?[, ]", message.partition(": give ")[2])
    assert advised[-1][0] == "strategy.strength"
    told = [name + value.rstrip(",") for name, value in advised if value]
    assert told
    configured(*options, *told)  # there are such options, with such values
