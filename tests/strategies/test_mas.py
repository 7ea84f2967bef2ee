"""MAS and its anchored base (MAS spec, section 10)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from lifelong.data import Images, Visit
from lifelong.measures.history import HISTOGRAM
from lifelong.networks import MultiHead, Network
from lifelong.parts.fisher import Fisher
from lifelong.parts.importance import Importance, statistics
from lifelong.parts.sensitivity import Sensitivity
from lifelong.strategies import MAS, SI, Anchored, Round
from tests.conftest import execute, images, results_of, small_body, toy_task, toy_visit

SGD = partial(torch.optim.SGD, lr=0.1)
NONE: Any = []  # instead of a loader that is not used


def mas(**options: Any) -> MAS:
    torch.manual_seed(3)
    made = MAS(Network(small_body(), partial(MultiHead, dropout=0.5)), SGD, **options)
    made.begin_task(toy_visit(0))
    return made


def importances(made: Anchored) -> dict[str, Tensor]:
    return {name: made.anchor.importance(name).clone() for name in made.regularized_params()}


def test_heads_are_not_held() -> None:
    made = mas()
    assert all(name.startswith("body.") for name in made.regularized_params())
    assert len(made.regularized_params()) == 8


def test_labels_do_not_matter_and_neither_does_repetition() -> None:
    visit = toy_visit(0)
    made = mas()
    made.end_task(visit, NONE)
    first = importances(made)
    train = visit.train
    other = Images(
        train.x.repeat(3, 1, 1, 1), torch.zeros(3 * len(train)).long(), train.t.repeat(3)
    )
    again = mas()
    again.end_task(replace(visit, task=replace(visit.task, train=other)), NONE)
    for name, value in importances(again).items():
        torch.testing.assert_close(value, first[name], rtol=1e-4, atol=1e-8)


def test_dropout_and_gradients_are_left_alone() -> None:
    """The importance is that of evaluation mode, and nothing of it stays behind."""
    visit = toy_visit(0)
    found = []
    for seed in (0, 1):
        made = mas()
        torch.manual_seed(seed)
        made.end_task(visit, NONE)
        found.append(importances(made))
        assert made.training
        assert all(p.grad is None for p in made.parameters())
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name])
    assert any(value.any() for value in found[0].values())


@pytest.mark.parametrize(("accumulate", "expected"), [("sum", 6), ("running_mean", 3), ("ema", 3)])
def test_accumulation(accumulate: Any, expected: float) -> None:
    made = mas(accumulate=accumulate, alpha=0.5)
    name = next(iter(made.regularized_params()))
    for value in (2.0, 4.0):
        made.importance.count = 10
        made.accumulate_importance(name, torch.full_like(made.anchor.importance(name), value))
        made.images += 10
    assert (made.anchor.importance(name) == expected).all()


def test_importance_in_double_precision_and_of_batches_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    visit = toy_visit(0)
    found = []
    for pixels, precision in ((2**20, torch.float), (1, torch.float), (2**20, torch.double)):
        monkeypatch.setattr("lifelong.parts.sensitivity.PIXELS", pixels)
        made = mas().to(precision)
        made.end_task(visit, NONE)
        found.append(importances(made))
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name])
        torch.testing.assert_close(value, found[2][name].float())


@pytest.mark.parametrize("part", ["train", "val", "test", "train+test"])
def test_data_and_samples(part: Any) -> None:
    visit = toy_visit(0, n=24)
    made = mas(importance=Sensitivity(images=part, samples=7))
    batches = list(made.importance._batches(made.importance._drawn(visit)))
    assert sum(len(batch.y) for batch in batches) == 7
    made = mas(importance=Sensitivity(images=part))
    count = {"train": 24, "val": 12, "test": 12, "train+test": 36}[part]
    made.end_task(visit, NONE)
    assert made.images == made.importance.count == count


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
    made._regularized = named
    made.anchor.extend(named)
    made.anchor.importance("w").fill_(2.0)
    made.anchor.weight("w").zero_()
    optimizer = torch.optim.SGD(named.values(), lr=1.0, momentum=0.9)
    for _ in range(3000):
        named["w"].grad = torch.zeros_like(named["w"])
        made.on_before_optimizer_step(None)
        optimizer.step()
    assert (abs(float(named["w"].detach())) < 1e-3) == (strength < 1.9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -1.0}, r"strategy.strength=-1.0"),
        ({"alpha": 2.0}, r"strategy.alpha=2.0"),
    ],
)
def test_refuses(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mas(**options)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (Sensitivity, {"samples": 0}, "samples=0"),
        (Sensitivity, {"batch_size": 0}, "batch_size=0"),
        (Sensitivity, {"images": "nowhere"}, "images=nowhere: give train, val"),
        (Fisher, {"samples": 0}, "samples=0"),
        (Fisher, {"batch_size": 0}, "batch_size=0"),
    ],
)
def test_the_importance_refuses(kind: Any, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"strategy\.importance.*{message}"):
        kind(**options)


class Halved(Importance):
    """One's own: all weights matter by a half."""

    def __call__(self, network: Any, visit: Visit, named: Any) -> dict[str, Tensor]:
        return {name: torch.full_like(p, 0.5) for name, p in named.items()}


def test_an_importance_of_ones_own(tmp_path: Path) -> None:
    """Half the importance at twice the strength is the same penalty."""
    options = ["data=digits", "tasks=2", "epochs=1", "logger=none", "strategy=l2"]
    own = "strategy.importance._target_=tests.strategies.test_mas.Halved"
    assert execute(tmp_path / "a", *options, "strategy.strength=2") == 0
    assert execute(tmp_path / "b", *options, "strategy.strength=4", own) == 0
    assert results_of(tmp_path / "a")["accuracy"] == results_of(tmp_path / "b")["accuracy"]


def test_recomputing_is_summing_while_the_weights_stay() -> None:
    """All tasks' images under the weights as they are (MAS spec, 10.13)."""
    tasks = [toy_visit(0), toy_visit(1)]
    found = []
    for accumulate in ("sum", "recompute"):
        made = mas(accumulate=accumulate)
        made.end_task(tasks[0], NONE)
        made.begin_task(tasks[1])
        made._met = dict(enumerate(tasks)) if made._met else {}
        made.end_task(tasks[1], NONE)
        found.append(importances(made))
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name])


def test_importance_of_a_persons_own_images(tmp_path: Path) -> None:
    """Two constant images in a folder stand for the task's."""
    for name, value in (("a", 40), ("b", 200)):
        Image.new("L", (8, 8), value).save(tmp_path / f"{name}.png")
    torch.manual_seed(3)
    body = small_body((1, 8, 8))
    made = MAS(Network(body, MultiHead), SGD, importance=Sensitivity(images=str(tmp_path)))
    task = replace(toy_task(0), train=images(6, (1, 8, 8)))
    visit = Visit(1, task, False)
    made.begin_task(visit)
    made.end_task(visit, NONE)
    name, p = next(iter(made.regularized_params().items()))
    expected = torch.zeros_like(p)
    made.eval()
    for value in (40.0, 200.0):
        scores = made.network.logits(torch.full((1, 1, 8, 8), value), 0)
        expected += torch.autograd.grad(scores.square().sum(), p)[0].abs() / 2
    torch.testing.assert_close(made.anchor.importance(name), expected)


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


SMOKE = [
    "data=digits", "backbone=mlp", "heads=multi", "heads.init=uniform", "logger=none",
    "backbone.init=uniform", "epochs=20", "batch_size=32", "optimizer=sgd_momentum",
    "optimizer.momentum=0.9", "lr=0.05", "evaluate_every=0",
]  # fmt: skip


def test_less_is_forgotten_on_digits(tmp_path: Path) -> None:
    """The thresholds of the specification (10.17), over two of its five seeds."""
    final: dict[str, list[float]] = {"finetune": [], "mas": []}
    lost: dict[str, list[float]] = {"finetune": [], "mas": []}
    for name, more in (("finetune", []), ("mas", ["strategy.strength=0.1"])):
        for seed in (1, 2):
            folder = tmp_path / f"{name}_{seed}"
            assert execute(folder, *SMOKE, f"strategy={name}", *more, f"seed={seed}") == 0
            metrics = results_of(folder)["metrics"]
            final[name].append(metrics["final_accuracy"])
            lost[name].append(-metrics["backward_transfer"])
    assert sum(lost["mas"]) <= sum(lost["finetune"]) - 2 * 0.02
    assert sum(final["mas"]) >= sum(final["finetune"])


def test_divergence_is_told_with_what_to_do(tmp_path: Path, capsys: Any) -> None:
    options = [*SMOKE, "strategy=mas", "strategy.strength=100", "tasks=2"]
    assert execute(tmp_path, *options) != 0
    message = capsys.readouterr().err
    assert "the training loss became" in message
    assert "give strategy.penalty=proximal, or a smaller strategy.strength or lr" in message


def test_what_a_report_shows_of_importances() -> None:
    found = statistics({"a": torch.tensor([0.0, 1e-3, 10.0]), "b": torch.tensor([[1e-20]])})
    assert found["zeros"] == 1
    assert found["shares"] == {"a": 1.0, "b": 0.0}
    first, last, steps = HISTOGRAM
    edges = torch.linspace(first, last, steps + 1)
    counts = torch.tensor(found["histogram"])
    assert counts.sum() == 3
    assert counts[0] == 1  # below the lowest
    for value in (-3.0, 1.0):
        assert counts[int((edges <= value).sum()) - 1] == 1


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


@pytest.mark.parametrize("estimator", ["exact", "batched"])
def test_each_score_adds_up_the_gradients_of_the_scores(estimator: Any) -> None:
    made = mas(importance=Sensitivity(objective="each_score", estimator=estimator, batch_size=24))
    visit = toy_visit(0)
    made.eval()
    name, p = next(iter(made.regularized_params().items()))
    expected = torch.zeros_like(p)
    groups = torch.arange(24).split(1 if estimator == "exact" else 24)
    for rows in groups:
        for label in range(3):
            scores = made.network.logits(visit.train[rows].x, 0)[:, label].mean()
            expected += torch.autograd.grad(scores, p)[0].abs() / len(groups)
    torch.testing.assert_close(made.importance_of(visit)[name], expected)
