"""Bottom-up tickets, retraining, tickets as files (Tickets spec, 6, 7, 11.6, 11.7, 11.14)."""

from __future__ import annotations

import copy
import re
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong import load_run, load_ticket
from lifelong.finished import evaluate, export
from lifelong.networks import MultiHead, TwoBranchNetwork
from lifelong.parts.masks import Masks
from lifelong.strategies import Round, TicketsBU
from tests.conftest import execute, results_of, small_body, toy_visit

SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=0.01)
NONE: Any = []  # instead of a loader that is not used


def made(**options: Any) -> TicketsBU:
    torch.manual_seed(3)
    values = {"batch_size": 48, "memory": 4, "unlabeled": "exemplars"} | options
    return TicketsBU(TwoBranchNetwork(small_body(), MultiHead), SGD, **values)


def driven(method: TicketsBU, index: int, *accuracies: float, last: float = 0.9) -> list[Round]:
    """The rounds of a task whose trainings have these accuracies, and `last` when they are through.

    Weights move a little in each, as masks allow.
    """
    visit = toy_visit(index)
    method.begin_task(visit)
    rounds, given, seen = method.rounds(visit), iter(accuracies), []
    now = next(rounds)
    while True:
        seen.append(now)
        with torch.no_grad():
            for p in method.network.parameters():
                p.add_(0.02 * torch.randn_like(p))
            method.on_train_batch_end(None, visit.train[torch.arange(2)], 0)
        accuracy = next(given, last)
        try:
            now = rounds.send({"val/best": accuracy, "score": accuracy})
        except StopIteration:
            break
    method.end_task(visit, NONE)
    return seen


def prunings(rounds: list[Round]) -> int:
    return sum(now.name.startswith("pruning") for now in rounds)


def after(total: int, count: int, share: float = 0.2) -> int:
    left = total
    for _ in range(count):
        left -= round(share * left)
    return left


def test_first_task_prunes_at_least_to_the_base_whatever_the_accuracy() -> None:
    """The 90 % line is crossed by the eleventh pruning, which is taken back."""
    method = made()
    rounds = driven(method, 0, 0.9, last=0.1)
    assert prunings(rounds) == 11
    total = len(method.ticket.flat())
    assert method.ticket.kept() == after(total, 10)
    assert method.method["decisions"]["1"]["accuracy_fell_in_round"] == 1
    assert [now.name for now in rounds][-1] == "retrained ticket"
    assert {now.restore_best for now in rounds if now.name.startswith("pruning")} == {False}


@pytest.mark.parametrize(("fails", "kept"), [(17, 16), (99, 26)])
def test_first_task_prunes_until_the_accuracy_falls_or_the_cap(fails: int, kept: int) -> None:
    method = made()
    accuracies = [0.9, *([0.9] * (fails - 1)), *([0.88] if fails < 27 else [])]
    rounds = driven(method, 0, *accuracies)
    assert prunings(rounds) == min(fails, 26)
    total = len(method.ticket.flat())
    assert method.ticket.kept() == after(total, kept)
    assert method.method["remaining"]["1"] == round(method.ticket.kept() / total, 6)


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


@pytest.mark.parametrize(
    ("drop", "base", "rounds", "kept"),
    [
        (2.0, 50.0, 3, 3),  # the new pruning reaches the base: stops without training it
        (2.1, 50.0, 3, 3),
        (1.9, 50.0, 6, 6),  # the accuracy never falls: the cap
        (5.0, 10.0, 1, 1),  # at once, and the first pruning is kept nevertheless
    ],
)
def test_growing_ends(drop: float, base: float, rounds: int, kept: int) -> None:
    method = made(most_rounds=6, base_sparsity=base)
    method.ticket.set_flat(torch.zeros_like(method.ticket.flat()))
    visit = toy_visit(0)
    method.begin_task(visit)
    growing = method._regrown(visit, 0.9)
    next(growing)
    count = 1
    while True:
        try:
            growing.send({"val/best": 0.9 - drop / 100})
        except StopIteration:
            break
        count += 1
    assert count == rounds == len(method.method["decisions"]["1"]["rounds"])
    total = len(method.ticket.flat())
    assert method.ticket.kept() == after(total, kept)


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


def test_deciding_on_test_images_is_asked_for_and_said() -> None:
    method = made(decide_on="test", most_rounds=2, base_sparsity=0)
    visit = toy_visit(0)
    method.begin_task(visit)
    rounds = method.rounds(visit)
    dense = next(rounds)
    assert dense.score_on is not None
    assert torch.equal(dense.score_on.x, visit.task.test.x)
    assert dense.val is None  # the best epoch is that on validation images all the same
    pruned = rounds.send({"val/best": 0.1, "score": 0.9})
    assert method.method["decisions"]["1"]["dense"] == 0.9
    assert torch.equal(pruned.val.x, visit.task.test.x)  # type: ignore[union-attr]
    assert method.method["decide_on"] == "test"
    method = made()
    method.begin_task(visit)
    assert next(method.rounds(visit)).score_on is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prune_fraction": 1.0}, r"strategy\.prune_fraction=1\.0"),
        ({"most_rounds": 0}, r"strategy\.most_rounds=0"),
        ({"base_sparsity": 101.0}, r"strategy\.base_sparsity=101"),
    ],
)
def test_refuses(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(**options)


SMALL = ["data=digits", "epochs=3", "batch_size=64", "optimizer=adam", "lr=0.003", "logger=none"]
SMALL += ["unlabeled=exemplars"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two tasks, all stages kept."""
    path = tmp_path_factory.mktemp("bu")
    options = ["strategy=tickets_bu", "tasks=2", "keep=all", "strategy.round_epochs=1"]
    options += ["strategy.memory=20"]
    options += ["strategy.most_rounds=3", "strategy.prune_fraction=0.4", "strategy.decide_on=test"]
    assert execute(path, *SMALL, *options) == 0
    return path


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
        ("evaluate=both", "evaluate=both: give task or class"),
        ("nonsense=1", "nonsense=1: there is no such option; give run, file, visit"),
    ):
        assert evaluate.main([f"run={folder}", wrong]) == 2
        assert re.search(message, capsys.readouterr().err)


def test_a_ticket_is_exported_loaded_and_trained_once_more(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "second.ticket"
    assert export.main(["ticket=true", str(folder), str(file)]) == 0
    assert "% of the weights" in capsys.readouterr().out
    assert export.main(["ticket=true", str(folder), str(file)]) == 2
    assert "is there already" in capsys.readouterr().err
    ticket, run = load_ticket(file), load_run(folder)
    strategy: Any = run.strategy
    assert ticket.remaining == strategy.masks.remaining()
    assert [task["classes"] for task in ticket.tasks] == [t.classes for t in run.tasks.values()]
    assert ticket.provenance["visit"] == 2
    assert ticket.provenance["decide_on"] == "test"
    assert ticket.provenance["accuracy"] == results_of(folder)["accuracy"][1]
    for name, value in ticket.weights.items():
        assert torch.equal(value, strategy.state()[name])
    for name, kept in strategy.masks.keep.items():
        start = strategy.start[f"body.{name}"] * kept
        assert torch.equal(ticket.start[f"body.{name}"], start)
    network = load_run(folder).strategy.network
    ticket.into(network, trained=False)
    assert not torch.equal(network.body.layers[1].weight, strategy.network.body.layers[1].weight)
    ticket.into(network)
    for one, other in zip(network.parameters(), strategy.network.parameters(), strict=True):
        assert torch.equal(one, other)
    accuracies = []
    retrain = [*SMALL, "strategy=retrain", f"strategy.run={folder}", "strategy.visit=2"]
    for index, options in enumerate((
        ["strategy.start=before"],
        [f"strategy.mask={file}", f"strategy.start={file}"],
        [],
    )):  # fmt: skip
        assert execute(tmp_path / str(index), *retrain, *options) == 0
        results = results_of(tmp_path / str(index))
        assert results["method"]["remaining"]["2"] == round(ticket.remaining, 6)
        assert results["accuracy"][0] == [None, None]
        accuracies.append(results["accuracy"][1])
    assert accuracies[0] == accuracies[1] != accuracies[2]
    first: Any = load_run(tmp_path / "2").strategy
    assert first.start.keys() == strategy.first.keys()
    for name, value in strategy.first.items():
        kept = first.masks.keep.get(name.removeprefix("body."), torch.ones(()))
        assert torch.equal(first.start[name], value * kept), name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["strategy.visit=3"], "holds no checkpoint of task 3, only of the visits 1, 2"),
        (["strategy.visit=2", "data.seed=9"], "had other training images for task 1"),
        (["strategy.visit=2", "data.shuffle_classes=true"], "learned other tasks"),
        (["strategy.visit=2", "tasks=1"], "strategy.visit=2: the stream has 1 tasks"),
        (["strategy.visit=2", "strategy.mask=nowhere"], "nowhere: no such file"),
        (["strategy.visit=2", "strategy.start=nowhere"], "nowhere: no such file"),
        (["strategy.visit=2", "unlabeled=none"], "unlabeled: none; the run in"),
        (["strategy.visit=2", "backbone=conv4"], "has other weights, body."),
    ],
)
def test_retraining_refuses(
    folder: Path, tmp_path: Path, options: list[str], message: str, capsys: Any
) -> None:
    given = [*SMALL, "strategy=retrain", f"strategy.run={folder}", *options]
    assert execute(tmp_path, *given) == 2
    assert message in capsys.readouterr().err


def test_a_foreign_file_is_no_ticket(tmp_path: Path) -> None:
    torch.save({"format": 0}, tmp_path / "other")
    with pytest.raises(ValueError, match="not a ticket that this version reads"):
        load_ticket(tmp_path / "other")
    masks = Masks({"0.weight": torch.nn.Parameter(torch.ones(3, 5, 3, 3))})
    assert masks.remaining() == 1
