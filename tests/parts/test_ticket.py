"""Top-down tickets of every stage as files, and where retraining may start from them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor

from lifelong import load_run, load_ticket
from lifelong.configuration.complete import complete
from lifelong.finished import export
from lifelong.parts.masks import Masks, kept_entries
from lifelong.report import page as report
from lifelong.strategies import TicketsTD
from tests.conftest import configured, execute, results_of

Named = dict[str, Tensor]

SMALL = ["data=digits", "data.fraction=0.5", "epochs=2", "batch_size=64", "optimizer=adam"]
SMALL += ["lr=0.003", "logger=none", "unlabeled=exemplars"]
RATES = [[0.5], [0.5], [0.5, 0.5]]
SHARES = {1: 0.5, 2: 0.25, 3: 0.0625}


@dataclass
class Watched:
    """A run, its network at the very beginning and as each training's last epoch left it."""

    folder: Path
    first: Named = field(default_factory=dict)
    lasts: list[Named] = field(default_factory=list)
    tickets: dict[int, Path] = field(default_factory=dict)


def network(method: TicketsTD) -> Named:
    return {name: p.detach().clone() for name, p in method.network.named_parameters()}


def kernels(named: Named) -> Named:
    return {name: value for name, value in named.items() if value.dim() == 4}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Watched:
    """A run of three tasks, all stages kept, and the tickets of all stages."""
    seen = Watched(tmp_path_factory.mktemp("td"))
    begin, end = TicketsTD.begin_task, TicketsTD.on_train_end

    def begin_task(self: TicketsTD, visit: Any) -> None:
        seen.first = seen.first or network(self)
        begin(self, visit)

    def on_train_end(self: TicketsTD) -> None:
        seen.lasts.append(network(self))
        end(self)

    options = ["strategy=tickets_td", "tasks=3", "keep=all", "strategy.memory=20"]
    options += ["strategy.keep_rounds=true"]
    options += [f"strategy.pruning={RATES}".replace(" ", ""), "strategy.round_epochs=1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TicketsTD, "begin_task", begin_task)
        patch.setattr(TicketsTD, "on_train_end", on_train_end)
        patch.setattr(report, "write_report", lambda folder, trust: None)
        assert execute(seen.folder, *SMALL, *options) == 0
    for stage in SHARES:
        seen.tickets[stage] = seen.folder / f"{stage}.ticket"
        given = ["ticket=true", str(seen.folder), str(seen.tickets[stage]), f"visit={stage}"]
        assert export.main(given) == 0
    return seen


def half(weights: Named, kept: Tensor) -> Tensor:
    """Of the entries kept the larger half, all kernels in one."""
    sizes = torch.cat([value.abs().flatten() for value in weights.values()])
    sizes[~kept] = -1
    found = torch.zeros_like(kept)
    found[sizes.argsort(descending=True)[: int(kept.sum()) // 2]] = True
    return found


def expected(watched: Watched) -> dict[int, Tensor]:
    """The masks by stage, from the weights seen alone: the last stage is pruned twice."""
    one, two, three, pruned, _ = map(kernels, watched.lasts)
    everything = torch.ones(sum(value.numel() for value in one.values()), dtype=torch.bool)
    masks = {1: half(one, everything)}
    masks[2] = half(two, masks[1])
    masks[3] = half(pruned, half(three, masks[2]))
    return masks


def by_kernel(flat: Tensor, watched: Watched) -> Named:
    like = kernels(watched.first)
    parts = flat.split([value.numel() for value in like.values()])
    return {
        name: part.view(value.shape)
        for (name, value), part in zip(like.items(), parts, strict=True)
    }


@pytest.mark.parametrize("stage", SHARES)
def test_a_stage_has_the_mask_that_was_found_for_it(watched: Watched, stage: int) -> None:
    """And not the one under which it was learned; its start is the very first network's."""
    ticket = load_ticket(watched.tickets[stage])
    assert ticket.remaining == SHARES[stage]
    masks = by_kernel(expected(watched)[stage], watched)
    for name, kept in masks.items():
        start, weights = ticket.start[name], ticket.weights[name]
        first = watched.first[name]
        assert torch.equal(start, torch.where(kept, first, 0.0)), name
        assert torch.equal(weights != 0, kept), name
        assert not torch.equal(start[kept], weights[kept]), name  # it was trained
    before = watched.lasts[{1: 0, 2: 1, 3: 3}[stage]]
    for name, value in before.items():  # all else goes on
        assert name in masks or torch.equal(ticket.start[name], value), name
    assert ticket.provenance["visit"] == stage


def answers(watched: Watched, stage: int) -> list[float]:
    """Accuracies on all seen tasks of the network that a ticket holds."""
    ticket = load_ticket(watched.tickets[stage])
    run = load_run(watched.folder, visit=len(ticket.tasks))
    ticket.into(run.strategy.network)
    found = []
    for task in instantiate(run.config.data, _convert_="all").tasks[: len(ticket.tasks)]:
        wanted = torch.tensor(task.classes)[task.test.y]
        right = run.predict_class(task.test.x, task.index) == wanted
        found.append(float(right.double().mean()))
    return found


def measured(watched: Watched, stage: int) -> list[float]:
    """What the run measured under the mask of a stage, in the visit after it."""
    results = results_of(watched.folder)
    row = {
        1: results["accuracy"][1],
        2: results["accuracy_before_pruning"][2],
        3: results["accuracy"][2],
    }[stage]
    return [value for value in row if value is not None]


@pytest.mark.parametrize("stage", SHARES)
def test_a_ticket_answers_as_the_run_did_under_its_mask(watched: Watched, stage: int) -> None:
    assert answers(watched, stage) == pytest.approx(measured(watched, stage))
    assert measured(watched, 2) != pytest.approx(measured(watched, 3))


@pytest.mark.parametrize("stage", SHARES)
def test_a_ticket_tells_its_own_accuracy(watched: Watched, stage: int) -> None:
    told = load_ticket(watched.tickets[stage]).provenance["accuracy"]
    assert told == pytest.approx(measured(watched, stage))


@pytest.fixture
def early(watched: Watched, tmp_path: Path) -> Path:
    """The file of the mask after the first of two prunings of the last stage."""
    file = tmp_path / "early.ticket"
    given = ["ticket=true", str(watched.folder), str(file), "visit=3", "round=1"]
    assert export.main(given) == 0
    return file


def of_round(watched: Watched) -> Tensor:
    """Its mask, from the weights seen alone."""
    return half(kernels(watched.lasts[2]), expected(watched)[2])


def test_the_mask_after_a_pruning(watched: Watched, early: Path) -> None:
    ticket = load_ticket(early)
    assert ticket.remaining == 0.125
    kept = by_kernel(of_round(watched), watched)
    found = {f"body.{name}": flags for name, flags in kept_entries(ticket.mask).items()}
    assert all(torch.equal(flags, found[name]) for name, flags in kept.items())


def test_a_start_is_there_for_the_mask_after_a_pruning(watched: Watched, early: Path) -> None:
    """Or retraining refuses to begin there at zero."""
    start, bare = load_ticket(early).start, 0
    for name, kept in by_kernel(of_round(watched), watched).items():
        bare += int((start[name][kept] == 0).sum())
    if bare:
        with pytest.raises(ValueError, match=r"strategy\.start="):
            checked(watched, 3, mask=early, start=early)


@pytest.fixture
def shortened(watched: Watched, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the run without the checkpoints of some visits."""

    def copy(*gone: int) -> Path:
        folder = tmp_path / "short"
        shutil.copytree(watched.folder, folder, ignore=shutil.ignore_patterns("*.ticket"))
        for visit in gone:
            (folder / f"visit_{visit:02d}.ckpt").unlink()
        return folder

    return copy


def test_an_early_stage_needs_its_checkpoints(
    watched: Watched, shortened: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    """What keep=latest leaves: the latest two, and with them the tickets of the last stages."""
    folder = shortened(1)
    file = folder / "one.ticket"
    assert export.main(["ticket=true", str(folder), str(file), "visit=1"]) == 2
    error = capsys.readouterr().err
    assert f"error: visit=1: {folder} has 2, 3; runs with keep=all have them all" in error
    assert not file.exists()
    for stage in (2, 3):
        file = folder / f"{stage}.ticket"
        assert export.main(["ticket=true", str(folder), str(file), f"visit={stage}"]) == 0
        again, known = load_ticket(file), load_ticket(watched.tickets[stage])
        assert torch.equal(again.mask["bits"], known.mask["bits"])
        for name, value in known.weights.items():
            assert torch.equal(again.weights[name], value), name


def test_a_mask_that_was_not_found_yet_is_said_to_be(
    shortened: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shortened(3)
    assert export.main(["ticket=true", str(folder), str(folder / "a"), "visit=2"]) == 2
    wanted = r"visit=2: .* finds its mask when visit 3 begins, and has no checkpoint"
    assert re.search(wanted, capsys.readouterr().err)


def checked(watched: Watched, stage: int, **options: Any) -> None:
    """Has retraining look at its files."""
    given = [f"strategy.{name}={value}" for name, value in options.items()]
    run = ["strategy=retrain", f"strategy.run={watched.folder}", f"strategy.visit={stage}"]
    config = configured(*SMALL, *run, *given)
    complete(config)
    stream = instantiate(config.data, _convert_="all")
    instantiate(config.strategy, _convert_="all").check(stream.tasks)


@pytest.mark.parametrize(
    ("stage", "mask", "start"),
    [(2, None, 3), (3, 1, 2), (3, 2, 3), (3, 2, "before"), (3, 1, "before")],
)
def test_a_start_that_does_not_cover_the_mask_is_refused(
    watched: Watched, stage: int, mask: int | None, start: int | str
) -> None:
    """It says how many weights would begin at zero."""
    masks = expected(watched)
    wanted = masks[mask or stage]
    bare = int((wanted & ~masks[3 if start == "before" else int(start)]).sum())
    options = {"start": watched.tickets[start] if isinstance(start, int) else start}
    if mask is not None:
        options["mask"] = watched.tickets[mask]
    message = f"strategy.start={options['start']}: has no weights for {bare} of the {wanted.sum()}"
    with pytest.raises(ValueError, match=re.escape(message)):
        checked(watched, stage, **options)


@pytest.mark.parametrize(
    ("stage", "mask", "start"),
    [(2, None, 2), (3, None, 2), (3, 2, 2), (3, 1, "first"), (3, None, "before")],
)
def test_a_start_that_covers_the_mask_is_taken(
    watched: Watched, stage: int, mask: int | None, start: int | str
) -> None:
    options = {"start": watched.tickets[start] if isinstance(start, int) else start}
    if mask is not None:
        options["mask"] = watched.tickets[mask]
    checked(watched, stage, **options)


def test_a_start_without_the_last_heads_is_refused(watched: Watched) -> None:
    """The first stage's ticket was trained with the second task, and has no heads of the third."""
    with pytest.raises(ValueError, match=r"strategy\.start=.*1\.ticket: is a ticket of visit 2"):
        checked(watched, 3, start=watched.tickets[1])


def test_retraining_begins_with_the_weights_of_the_file_under_the_mask(
    watched: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ["strategy=retrain", f"strategy.run={watched.folder}", "strategy.visit=3"]
    options += [f"strategy.start={watched.tickets[2]}", "epochs=1"]
    assert execute(tmp_path, *SMALL, *options) == 0
    method: Any = load_run(tmp_path).strategy
    for name, kept in by_kernel(expected(watched)[3], watched).items():
        first = watched.first[name]
        assert torch.equal(method.start[name], torch.where(kept, first, 0.0)), name
    start = load_ticket(watched.tickets[2]).start
    heads = [name for name in start if "heads" in name]
    assert heads
    for name in heads:
        assert torch.equal(method.start[name], start[name]), name


def test_a_foreign_file_is_no_ticket(tmp_path: Path) -> None:
    torch.save({"format": 0}, tmp_path / "other")
    with pytest.raises(ValueError, match="not a ticket that this version reads"):
        load_ticket(tmp_path / "other")
    masks = Masks({"0.weight": torch.nn.Parameter(torch.ones(3, 5, 3, 3))})
    assert masks.remaining() == 1
