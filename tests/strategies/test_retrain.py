"""Tickets trained once more (Tickets spec, 7 and 11.14)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong import load_run, load_ticket
from lifelong.finished import export
from tests.conftest import execute, results_of
from tests.strategies.bottom_up import SMALL


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
