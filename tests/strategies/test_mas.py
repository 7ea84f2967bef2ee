"""MAS and its anchored base (MAS spec, section 10)."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lifelong.data import Images
from lifelong.networks import MultiHead, Network
from lifelong.strategies import MAS, Anchored
from tests.conftest import execute, images, results_of, small_body, toy_task

SGD = partial(torch.optim.SGD, lr=0.1)
NONE: Any = []  # instead of a loader that is not used


def mas(**options: Any) -> MAS:
    torch.manual_seed(3)
    made = MAS(Network(small_body(), partial(MultiHead, dropout=0.5)), SGD, **options)
    made.begin_task(toy_task(0))
    return made


def importances(made: Anchored) -> dict[str, Tensor]:
    return {name: made.anchor.importance(name).clone() for name in made.held()}


def test_heads_are_not_held() -> None:
    made = mas()
    assert all(name.startswith("body.") for name in made.held())
    assert len(made.held()) == 8


def test_labels_do_not_matter_and_neither_does_repetition() -> None:
    task = toy_task(0)
    made = mas()
    made.end_task(task, NONE)
    first = importances(made)
    train = task.train
    other = Images(
        train.x.repeat(3, 1, 1, 1), torch.zeros(3 * len(train)).long(), train.t.repeat(3)
    )
    again = mas()
    again.end_task(toy_task(0).__class__(**{**task.__dict__, "train": other}), NONE)
    for name, value in importances(again).items():
        torch.testing.assert_close(value, first[name], rtol=1e-4, atol=1e-8)


def test_dropout_and_gradients_are_left_alone() -> None:
    """The importance is that of evaluation mode, and nothing of it stays behind."""
    task = toy_task(0)
    found = []
    for seed in (0, 1):
        made = mas()
        torch.manual_seed(seed)
        made.end_task(task, NONE)
        found.append(importances(made))
        assert made.training
        assert all(p.grad is None for p in made.parameters())
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name])
    assert any(value.any() for value in found[0].values())


@pytest.mark.parametrize(("accumulate", "expected"), [("sum", 6), ("running_mean", 3), ("ema", 3)])
def test_accumulation(accumulate: Any, expected: float) -> None:
    made = mas(accumulate=accumulate, alpha=0.5)
    name = next(iter(made.held()))
    for value in (2.0, 4.0):
        made._new = 10
        made.merge(name, torch.full_like(made.anchor.importance(name), value))
        made.images += 10
    assert (made.anchor.importance(name) == expected).all()


@pytest.mark.parametrize("part", ["train", "val", "test", "train+test"])
def test_data_and_samples(part: Any) -> None:
    task = toy_task(0, n=24)
    made = mas(importance_data=part, samples=7)
    batches = list(made._batches(task))
    assert sum(len(batch.y) for batch in batches) == 7
    made = mas(importance_data=part)
    count = {"train": 24, "val": 12, "test": 12, "train+test": 36}[part]
    assert sum(len(batch.y) for batch in made._batches(task)) == count
    made.end_task(task, NONE)
    assert made.images == count


def stepped(penalty: str, by_hand: bool, strength: float = 3.0) -> list[Tensor]:
    """Weights after twenty steps of momentum SGD with weight decay on a second task."""
    made = mas(strength=0.0 if by_hand else strength, penalty=penalty)
    made.double()
    made.make_optimizer = partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=0.01)
    made.eval()  # without dropout
    for task in (0, 1):
        made.begin_task(toy_task(task))
        if task == 0:
            generator = torch.Generator().manual_seed(0)
            for name in made.held():
                drawn = torch.rand(made.anchor.importance(name).shape, generator=generator)
                made.anchor.importance(name).copy_(drawn)
    made.double()
    made.anchor.hold(made.held())
    optimizer = made.configure_optimizers()["optimizer"]
    data = images(30, task=1)
    for rows in torch.arange(30).repeat(4).split(6):
        batch = data[rows]
        batch = batch._replace(x=batch.x.double())
        optimizer.zero_grad()
        loss = made.training_loss(batch)
        if by_hand:
            loss = loss + strength * made.anchor.penalty(made.held())
        loss.backward()
        made.on_after_backward()
        optimizer.step()
    return [p.detach() for p in made.held().values()]


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
        "local": ["strategy=mas", "strategy.importance=local"],
    }
    found = {}
    for name, more in chosen.items():
        assert execute(tmp_path / name, *options, *more) == 0
        state = torch.load(tmp_path / name / "task_01.ckpt", weights_only=True)["strategy"]
        found[name] = results_of(tmp_path / name)["accuracy"], state["network.body.0.weight"]
    assert found["plain"][0] == found["none"][0]
    assert torch.equal(found["plain"][1], found["none"][1])
    assert found["plain"][0][0] == found["some"][0][0] == found["local"][0][0]
    assert not torch.equal(found["plain"][1], found["some"][1])
    assert not torch.equal(found["some"][1], found["local"][1])


def test_proximal_steps_hold_what_matters_and_nothing_else() -> None:
    made = mas(strength=1e12, penalty="proximal")
    name, p = next(iter(made.held().items()))
    made.begin_task(toy_task(1))
    made.anchor.importance(name)[::2] = 1e-6
    made.anchor.hold(made.held())
    before = p.detach().clone()
    optimizer = made.configure_optimizers()["optimizer"]
    made._trainer = None
    made.optimizers = lambda use_pl_optimizer=False: optimizer  # type: ignore[method-assign]
    for _ in range(3):
        optimizer.zero_grad()
        made.training_loss(images(12, task=1)[torch.arange(12)]).backward()
        made.on_after_backward()
        optimizer.step()
        made.on_train_batch_end(None, NONE, 0)
    moved = (p.detach() - before).abs()
    assert moved[::2].max() < 1e-5
    assert moved[1::2].max() > 1e-4


@pytest.mark.parametrize("strength", [1.89, 1.91])
def test_the_bound_of_stability(strength: float) -> None:
    """One weight, rate 1, momentum 0.9: diverges from 1 + 0.9 on; lambda is half the curvature."""
    made = Anchored(Network(small_body(), MultiHead), SGD, strength=strength / 2)
    made.begin_task(toy_task(0))
    made.begin_task(toy_task(1))
    named = {"w": torch.nn.Parameter(torch.tensor([1.0], dtype=torch.double))}
    made._held = named
    made.anchor.extend(named)
    made.anchor.importance("w").fill_(2.0)
    made.anchor.weight("w").zero_()
    optimizer = torch.optim.SGD(named.values(), lr=1.0, momentum=0.9)
    for _ in range(3000):
        named["w"].grad = torch.zeros_like(named["w"])
        made.on_after_backward()
        optimizer.step()
    assert (abs(float(named["w"].detach())) < 1e-3) == (strength < 1.9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -1.0}, r"strategy.strength=-1.0"),
        ({"alpha": 2.0}, r"strategy.alpha=2.0"),
        ({"samples": 0}, r"strategy.samples=0"),
        ({"batch_size": 0}, r"strategy.batch_size=0"),
    ],
)
def test_refuses(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mas(**options)
