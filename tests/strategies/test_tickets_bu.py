"""Bottom-up tickets (Tickets spec, 6, 11.6, 11.7)."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong import load_run
from lifelong.finished import evaluate
from lifelong.strategies import TicketsBU
from tests.conftest import results_of, toy_visit
from tests.strategies.bottom_up import after, driven, made, prunings

NONE: Any = []  # instead of a loader that is not used


@pytest.mark.parametrize(
    ("points", "regrows"), [(0.99, False), (1.0, True), (-3.0, False), (5.0, True)]
)
def test_a_mask_is_kept_where_the_ticket_is_near_the_dense_network(
    points: float, regrows: bool
) -> None:
    method = made(most_rounds=3)
    driven(method, 0)
    before = method.ticket.flat()
    rounds = driven(method, 1, 0.9, 0.9 - points / 100)
    assert method.method["decisions"]["2"]["regrown"] == regrows
    assert torch.equal(method.ticket.flat(), before) != regrows
    names = [now.name for now in rounds]
    assert names[:2] == ["dense", "ticket"]
    assert prunings(rounds) == (3 if regrows else 0)


def test_a_mask_grows_by_what_is_left_of_the_rest() -> None:
    """All old positions stay; the cap keeps the share 0.8^rounds of the others."""
    method = made(most_rounds=5)
    driven(method, 0)
    old, total = method.ticket.flat(), len(method.ticket.flat())
    driven(method, 1, 0.9, 0.5)
    new = method.ticket.flat()
    assert not (old & ~new).any()
    assert int(new.sum()) == int(old.sum()) + after(total - int(old.sum()), 5)
    assert torch.equal(method.masks.flat(), new)


def moved(method: TicketsBU, number: int) -> None:
    """Stands for a training: moves the weights a little, as the masks in force allow."""
    generator = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for p in method.network.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=generator))
    method.masks.hold(method.prunable())


def continued(
    method: TicketsBU, index: int, accuracies: list[float], saved: list[Any], done: list[Any]
) -> list[str]:
    """The rounds of a task after those that are done, which are replayed; notes where one can stop.

    `saved` gathers the state before each round and the metrics until then.
    """
    visit = toy_visit(index)
    method.begin_task(visit)
    before = copy.deepcopy(method.state_dict()) if not done else None
    rounds, history, names = method.rounds(visit), copy.deepcopy(done), []
    now = next(rounds)
    number = 0
    while True:
        if number == len(done) and saved and number:
            method.load_state_dict(copy.deepcopy(saved[number][0]))
        if number >= len(done):
            names.append(now.name)
            if len(saved) == number:
                state = before if number == 0 else copy.deepcopy(method.state_dict())
                saved.append((state, copy.deepcopy(history)))
            moved(method, 100 * index + number)
            history.append({"val/best": accuracies[number], "score": accuracies[number]})
        number += 1
        try:
            now = rounds.send(history[number - 1])
        except StopIteration:
            break
    method.end_task(visit, NONE)
    return names


@pytest.mark.parametrize("retrain", [True, False])
@pytest.mark.parametrize("base", [10.0, 20.0])
def test_rounds_that_are_gone_on_with_end_as_they_would_have(base: float, retrain: bool) -> None:
    """Stopped before any round of either search, which the accuracy ends."""
    options = {"most_rounds": 6, "base_sparsity": base, "retrain": retrain}
    first = [0.9, 0.9, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]
    second = [0.9, 0.5, 0.9, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8]
    whole = made(**options)
    starts: list[list[Any]] = [[], []]
    names = [
        continued(whole, index, accuracies, starts[index], [])
        for index, accuracies in enumerate((first, second))
    ]
    for of_task in names:  # the accuracy ended them, not the cap
        assert 1 <= sum(name.startswith("pruning") for name in of_task) < 6
    wanted = whole.state_dict()
    for index, accuracies in enumerate((first, second)):
        for number in range(1, len(starts[index])):
            other = made(**options)
            if index == 1:
                continued(other, 0, first, [], [])
            done = starts[index][number][1]
            later = continued(other, index, accuracies, starts[index], done)
            assert later == names[index][number:]
            if index == 0:
                continued(other, 1, second, [], [])
            assert torch.equal(other.ticket.flat(), whole.ticket.flat())
            for name, value in other.network.state_dict().items():
                assert torch.equal(value, wanted[f"network.{name}"]), (index, number, name)
            assert other.method == whole.method


def test_a_ticket_that_is_not_retrained_is_the_network_of_its_round() -> None:
    """Every weight that the mask keeps is there, as the round before the last pruning left it."""
    method = made(retrain=False, most_rounds=3)
    driven(method, 0)
    assert method.ticket.kept() == after(len(method.ticket.flat()), 3)
    for name, p in method.prunable().items():
        assert bool(p.detach()[method.ticket.keep[name]].all())
        assert not p.detach()[~method.ticket.keep[name]].any()


def test_published_sizes() -> None:
    """16 rounds, then 26 of the complement: 314,105 + 32,777 weights, 3.1085 %."""
    total = 11_159_232
    first = after(total, 16)
    grown = first + after(total - first, 26)
    assert (first, grown) == (314_105, 346_882)
    assert round(100 * grown / total, 4) == 3.1085


def test_the_dense_chain_goes_on_and_teaches() -> None:
    """The ticket leaves no trace in it: stage 2 begins from dense weights, which also answer U."""
    method = made(most_rounds=2, base_sparsity=10)
    driven(method, 0, 0.9, 0.5)
    dense = method._dense
    assert all(bool(value.all()) for name, value in dense.items() if "layers" in name)
    own = method.state()
    assert any(not torch.equal(own[name], dense[name]) for name in dense)
    method.eval()
    assert list(method.auxiliary_networks()) == ["dense"]
    beside = method.auxiliary_networks()
    next(beside)
    features = method.network.body(method._views(toy_visit(0))[torch.arange(12)].x)
    torch.testing.assert_close(
        method.taught.now["main"], method.network.heads(features, 0).detach()
    )
    assert next(beside, None) is None
    for name, value in method.state().items():
        assert torch.equal(value, own[name])
    method.begin_task(toy_visit(1))
    rounds = method.rounds(toy_visit(1))
    assert next(rounds).name == "dense"
    assert method.masks.remaining() == 1
    for name, value in method.state().items():
        assert torch.equal(value, dense.get(name, value))
    start = method.state()
    rounds.send({"val/best": 0.9})  # now the ticket, from where the dense network began
    for name, p in method.prunable().items():
        wanted = start[f"body.{name}"] * method.ticket.keep[name]
        assert torch.equal(p.detach(), wanted)


def test_a_run_measures_both_chains(folder: Path) -> None:
    results = results_of(folder)
    left = results["method"]["remaining"]
    assert left["1"] == pytest.approx(0.6**3, abs=1e-3)
    assert left["2"] in (left["1"], pytest.approx(left["1"] + (1 - left["1"]) * 0.6**3, abs=1e-3))
    assert results["method"]["measured_with"] == left
    assert sum(results["accuracy_dense"][1]) > 1.2
    mean = sum(results["accuracy_dense"][1]) / 2
    assert results["metrics"]["final_accuracy_dense"] == pytest.approx(mean)
    loaded: Any = load_run(folder).strategy
    for name, p in loaded.prunable().items():
        assert not p[~loaded.masks.keep[name]].any()
    for name in ("dense_against_ticket", "accuracy_against_remaining", "density_by_layer"):
        assert (folder / "figures" / f"{name}.png").exists()


def test_any_stage_is_measured_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = results_of(folder)
    for stage in (1, 2):
        assert evaluate.main([str(folder), f"visit={stage}"]) == 0
        shown = capsys.readouterr().out
        for value in results["accuracy"][stage - 1][:stage]:
            assert f"{100 * value:6.2f} %" in shown
        left = 100 * results["method"]["remaining"][str(stage)]
        assert f"{left:6.2f} %" in shown.splitlines()[-1]
        assert len(shown.splitlines()) == stage + 3
    for wrong, message in (
        ("visit=3", r"visit=3: .* has 1, 2"),
        ("visit=x", "visit=x: give a whole number"),
        ("part=all", "part=all: give test or val or train"),
        ("device=cuda:1", "device=cuda:1: no GPU is there; give cpu"),
        ("evaluate=both", "evaluate=both: give task or class"),
        ("nonsense=1", "nonsense=1: there is no such option; give run, file, visit"),
    ):
        assert evaluate.main([f"run={folder}", wrong]) == 2
        assert re.search(message, capsys.readouterr().err)
