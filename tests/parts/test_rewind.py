"""What the weights that are left become (Tickets spec, 11.5)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong import load_run, load_ticket
from lifelong.finished import export
from lifelong.strategies import Round, TicketsTD
from tests.conftest import execute, toy_visit
from tests.strategies.top_down import made, train

NONE: Any = []  # instead of a loader that is not used


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


def name_in(name: str) -> str:
    return f"body.{name}"
