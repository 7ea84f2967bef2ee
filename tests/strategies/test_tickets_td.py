"""Top-down tickets (Tickets spec, 5 and 11.2 to 11.5)."""

from __future__ import annotations

from functools import partial
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong import load_run, load_ticket
from lifelong.data import TaskStream, Visit
from lifelong.finished import export
from lifelong.networks import MultiHead, TwoBranchNetwork
from lifelong.strategies import Round, TicketsTD
from tests.conftest import execute, results_of, small_body, toy_task, toy_visit

SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=0.01)
NONE: Any = []  # instead of a loader that is not used


def made(**options: Any) -> TicketsTD:
    torch.manual_seed(3)
    values = {"batch_size": 48, "memory": 4, "unlabeled": "exemplars"} | options
    return TicketsTD(TwoBranchNetwork(small_body(), MultiHead), SGD, **values)


def train(method: TicketsTD, visit: Visit, now: Round, steps: int = 3) -> None:
    """A few steps of a round, as Lightning would take them."""
    stream = TaskStream([visit.task], name="toy", batch_size=6)
    images = now.train() if callable(now.train) else now.train
    stream.serve(visit, images, feeds=now.feeds)
    method.on_train_epoch_start()
    optimizer = method.configure_optimizers()["optimizer"]
    for number, batch in enumerate(islice(stream.train_dataloader(), steps)):
        optimizer.zero_grad()
        method.training_step(batch, number).backward()
        method.on_before_optimizer_step(None)
        optimizer.step()
        method.on_train_batch_end(None, batch, number)
    method.on_train_end()


def lived(method: TicketsTD, count: int) -> list[list[Round]]:
    """The rounds of so many tasks, each trained a little; checks that masked weights stay zero."""
    seen = []
    for index in range(count):
        visit = toy_visit(index, last=index == count - 1)
        method.begin_task(visit)
        seen.append([])
        for now in method.rounds(visit):
            train(method, visit, now)
            seen[-1].append(now)
            for name, p in method.prunable().items():
                assert not p.detach()[~method.masks.keep[name]].any()
        method.end_task(visit, NONE)
    return seen


def test_rounds_and_densities_of_a_stream() -> None:
    method = made(pruning="release", round_epochs=7)
    masks = [method.masks.flat()]
    rounds = lived(method, 5)
    names = [[now.name for now in of_task] for of_task in rounds]
    assert names == [
        ["train"],
        ["train"],
        ["train"],
        ["pruning 1 of 2", "train"],
        ["pruning 1 of 3", "pruning 2 of 3", "train"]
        + [f"pruning {number} of 5" for number in range(1, 5)]
        + ["train"],
    ]
    for of_task in rounds:
        for now in of_task:
            pruning = now.name.startswith("pruning")
            assert (now.epochs, now.lr_scale) == ((7, 0.01) if pruning else (None, None))
            assert now.restore_best != pruning
    total, left = len(masks[0]), len(masks[0])
    for visit, count in enumerate((1, 1, 2, 3, 5), 1):
        for _ in range(count):
            left -= round(0.2 * left)
        assert method.method["remaining"][str(visit)] == pytest.approx(left / total, abs=1e-6)
    assert method.masks.kept() == left


@pytest.mark.parametrize(
    ("preset", "share"), [("release", 6.87), ("paper_cifar10", 4.40), ("paper_cifar100", 9.66)]
)
def test_what_is_left_at_the_end_of_a_preset(preset: str, share: float) -> None:
    left = 11_159_232
    for rates in made(pruning=preset).pruning:
        for rate in rates:
            left -= round(rate * left)
    assert round(100 * left / 11_159_232, 2) == share


@pytest.mark.parametrize("rewind", ["zero", "best", "rand", "none"])
def test_rewinding(rewind: Any) -> None:
    """Convolutions alone; what is left becomes what it was, what went is zero."""
    method = made(pruning=[[0.3, 0.3], [0.3]], rewind=rewind)
    first = {name: p.detach().clone() for name, p in method.prunable().items()}
    visit = toy_visit(0)
    method.begin_task(visit)
    (only,) = method.rounds(visit)
    assert only == Round()
    train(method, visit, Round())
    with torch.no_grad():  # the best epoch, which is put back, is another than the last
        for p in method.network.parameters():
            p.mul_(0.5)
    best = {name: p.detach().clone() for name, p in method.prunable().items()}
    method.end_task(visit, NONE)
    method.begin_task(toy_visit(1, last=True))
    rounds = method.rounds(toy_visit(1, last=True))
    assert next(rounds).name == "pruning 1 of 2"
    for name, p in method.prunable().items():  # what the last epoch left is pruned, not the best
        kept = method.masks.keep[name]
        torch.testing.assert_close(p.detach(), method._last[name_in(name)] * kept)
        torch.testing.assert_close(p.detach()[kept], 2 * best[name][kept])
    train(method, visit, Round())
    trained = {name: p.detach().clone() for name, p in method.prunable().items()}
    others = {n: p.detach().clone() for n, p in method.network.named_parameters() if "heads" in n}
    assert next(rounds).name == "train"
    for name, p in method.prunable().items():
        kept = method.masks.keep[name]
        assert not p.detach()[~kept].any()
        wanted = {"zero": first, "best": best, "none": trained}.get(rewind)
        if wanted is None:
            assert not torch.equal(p.detach()[kept], first[name][kept])
        else:
            assert torch.equal(p.detach()[kept], wanted[name][kept])
    for name, p in method.network.named_parameters():
        if name in others:
            assert torch.equal(p.detach(), others[name])


def test_late_rewinding_and_masks_of_every_pruning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kernels go back to the second epoch of the first task; each pruning's mask is kept."""
    seen: list[dict[str, torch.Tensor]] = []
    end = TicketsTD.on_train_epoch_end

    def watched(self: TicketsTD) -> None:
        seen.append({name: p.detach().clone() for name, p in self.prunable().items()})
        end(self)

    monkeypatch.setattr(TicketsTD, "on_train_epoch_end", watched)
    options = ["strategy=tickets_td", "data=digits", "data.fraction=0.3", "epochs=3", "tasks=2"]
    options += ["batch_size=32", "optimizer=adam", "lr=0.01", "logger=none", "strategy.memory=5"]
    options += ["unlabeled=exemplars", "strategy.rewind=late", "strategy.rewind_epoch=2"]
    options += ["strategy.pruning=[2,1]", "strategy.round_epochs=1", "strategy.keep_rounds=true"]
    assert execute(tmp_path / "run", *options) == 0
    strategy: Any = load_run(tmp_path / "run").strategy
    for name, kept in strategy.masks.keep.items():
        assert torch.equal(strategy.start[name_in(name)], seen[1][name] * kept)
    masks = strategy.round_masks
    assert [[mask["kept"] for mask in masks[step]] for step in ("1", "2")] == [
        [kept_after(strategy, 1), kept_after(strategy, 2)], [kept_after(strategy, 3)]
    ]  # fmt: skip
    for number, left in ((1, 80), (2, 64)):
        path = tmp_path / f"{number}.ticket"
        given = [
            "ticket=true",
            str(tmp_path / "run"),
            str(path),
            "visit=1",
            f"round={number}",
        ]
        assert export.main(given) == 0
        assert round(100 * load_ticket(path).remaining) == left
    assert export.main([*given[:-1], "3"]) == 2


def kept_after(method: TicketsTD, prunings: int) -> int:
    left = sum(p.numel() for p in method.prunable().values())
    for _ in range(prunings):
        left -= round(0.2 * left)
    return left


@pytest.mark.parametrize(
    ("given", "rounds"),
    [("1,2", [1, 2]), ([1, 0, 2], [1, 0, 2]), ([[0.2], [0.2, 0.2]], [1, 2])],
)
def test_notations_of_pruning(given: Any, rounds: list[int]) -> None:
    assert made(pruning=given).pruning == [[0.2] * count for count in rounds]


@pytest.mark.parametrize("given", ["1;2", "half", [[1.5]]])
def test_refuses_other_notations(given: Any) -> None:
    with pytest.raises(ValueError, match=r"strategy\.pruning="):
        made(pruning=given)


def name_in(name: str) -> str:
    return f"body.{name}"


def test_masks_only_shrink() -> None:
    method = made(pruning=[[0.2]] * 3)
    masks = []
    prune = method._prune

    def watched(stage: Any, rate: float) -> None:
        prune(stage, rate)
        masks.append(method.masks.flat())

    method._prune = watched  # type: ignore[method-assign]
    lived(method, 3)
    assert len(masks) == 3
    for one, other in pairwise(masks):
        assert not (other & ~one).any()
        assert other.sum() < one.sum()


def test_a_run_and_its_ticket(tmp_path: Path) -> None:
    options = ["data=digits", "strategy=tickets_td", "tasks=3", "epochs=4", "batch_size=64"]
    options += ["optimizer=adam", "lr=0.003", "logger=none", "strategy.memory=20"]
    options += ["strategy.pruning=[[0.5],[0.5],[0.5,0.5]]", "strategy.round_epochs=1"]
    assert execute(tmp_path, *options) == 0
    results = results_of(tmp_path)
    assert list(results["method"]["remaining"].values()) == [0.5, 0.25, 0.0625]
    assert min(results["accuracy"][2]) > 0.6
    assert list(results["method"]["measured_with"].values()) == [1.0, 0.5, 0.0625]
    before = results["accuracy_before_pruning"]
    assert before[0] == before[1] == [None] * 3
    assert min(before[2]) > 0.6
    assert before[2] != results["accuracy"][2]
    loaded: Any = load_run(tmp_path).strategy
    assert loaded.masks.remaining() == 0.0625
    for name, p in loaded.prunable().items():
        assert not p[~loaded.masks.keep[name]].any()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pruning": "most"}, r"strategy\.pruning=most: give release, paper_cifar10"),
        ({"pruning": [[1.0]]}, r"give shares from 0 to below 1"),
        ({"round_epochs": 0}, r"strategy\.round_epochs=0"),
    ],
)
def test_refuses(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**options)


def test_refuses_a_stream_that_is_longer() -> None:
    with pytest.raises(ValueError, match="has shares for 1 tasks; give one list for each of the 2"):
        made(pruning=[[0.2]]).check([toy_task(0), toy_task(1)])
