"""How far a network is pruned in rounds, over planted accuracies."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.conftest import toy_visit
from tests.strategies.bottom_up import after, driven, made, prunings


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
