"""A run's state in files of other layouts.

`python -m lifelong.export RUN FOLDER` writes that of the MAS re-implementation:

    models/shared_model.pth     the body's state dict, keys with the prefix `tmodel.`
    models/reg_params.pickle    {parameter: {"omega": importance, "init_val": anchor}}
    models/Task_1/head.pth      state dict of the task's head: fc.weight (k, f), fc.bias (k,); where
                                heads have hidden layers also hidden.0.weight, hidden.0.bias, ...
    models/Task_1/classes.txt   number of classes
    models/Task_1/performance.txt  test accuracy in [0, 1] just after the task was learned

`python -m lifelong.export --ticket RUN FILE [--stage N]` writes the lifelong ticket of a run of
tickets_td, tickets_bu or retrain: mask, weights before and after the training, see
`lifelong.load_ticket`. N counts tasks learned; default: all.

All tensors can be read with `torch.load(..., weights_only=True)`. Tasks are numbered from 1 here.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from lifelong.checkpoint import finished_visits
from lifelong.evaluation.matrix import learned_at
from lifelong.files import write_text, write_with
from lifelong.load import Run, load_run, load_stage
from lifelong.networks import Head, Network, OutputMatrix
from lifelong.parts.ticket import Ticket
from lifelong.strategies import Tickets, TicketsTD

PREFIX = "tmodel."


def export(run: Run, folder: Path) -> None:
    """Writes `folder`/models.

    Raises:
        ValueError: a network that is no body with linear heads; a folder that has one already.
    """
    models = folder / "models"
    if models.exists():
        raise ValueError(f"{models}: is there already; give another folder")
    heads = {task: _head(run, task) for task in run.tasks}
    body = run.body
    inner = getattr(body, "body", body)  # torchvision's own names where it is its network
    shared = {f"{PREFIX}{name}": value.cpu() for name, value in inner.state_dict().items()}
    _save(models / "shared_model.pth", shared)
    _save(models / "reg_params.pickle", _importances(run, inner))
    learned = learned_at(run.results["visits"][: run.step + 1])
    for task, head in heads.items():
        place = models / f"Task_{task + 1}"
        _save(place / "head.pth", head)
        write_text(place / "classes.txt", f"{len(head['fc.bias'])}\n")
        write_text(place / "performance.txt", f"{run.accuracy[learned[task], task]}\n")


def export_ticket(run: Run, path: Path) -> Ticket:
    """Writes the ticket that the run held after its visit.

    Raises:
        ValueError: a method without masks; a file that is there already.
    """
    if not isinstance(run.strategy, Tickets):
        raise ValueError(
            f"{run.folder}: {run.results['strategy']} finds no tickets; give a run of tickets_td, "
            "tickets_bu or retrain"
        )
    if path.exists():
        raise ValueError(f"{path}: is there already; give another file")
    found, trained = _ticket(run)
    accuracy = [value for value in run.accuracy[trained.step].tolist() if not math.isnan(value)]
    environment = json.loads((run.folder / "environment.json").read_text(encoding="utf-8"))
    provenance = {
        **{name: run.results[name] for name in ("strategy", "data", "seed", "fidelity")},
        **{name: run.strategy.method.get(name) for name in ("unlabeled", "decide_on")},
        "stage": run.step + 1,
        "trained_at_stage": trained.step + 1,
        "accuracy": accuracy,
        "environment": environment,
        "config": OmegaConf.to_yaml(run.config),
    }
    ticket = Ticket(
        **found,
        tasks=[trained.tasks[index].description() for index in trained.strategy.classes],
        provenance=provenance,
    )
    ticket.save(path)
    return ticket


def _ticket(run: Run) -> tuple[dict[str, Any], Run]:
    """Mask, start and weights of a ticket; and the run after the visit in which it was trained."""
    strategy = run.strategy
    assert isinstance(strategy, Tickets)
    if not isinstance(strategy, TicketsTD):
        mask, start = strategy.masks.packed(), strategy.start or strategy.first
        return {"mask": mask, "start": start, "weights": strategy.state()}, run
    found = strategy.ticket_of(run.step)
    if found is not None:
        return found, run
    stage = run.step + 1
    if run.step + 1 not in finished_visits(run.folder):
        raise ValueError(
            f"stage={stage}: {run.folder} finds the mask of stage {stage} when stage {stage + 1} "
            "begins, and has no checkpoint of that; runs with keep=all have them all"
        )
    later = load_run(run.folder, run.step + 1)
    assert isinstance(later.strategy, TicketsTD)
    found = later.strategy.ticket_of(run.step)
    assert found is not None
    return found, later


def _importances(run: Run, inner: nn.Module) -> dict[str, dict[str, Tensor]]:
    names = {id(p): f"{PREFIX}{name}" for name, p in inner.named_parameters()}
    anchor = getattr(run.strategy, "anchor", None)
    return {
        names[id(p)]: {
            "omega": anchor.importance(name).cpu(),  # type: ignore[union-attr]
            "init_val": anchor.weight(name).cpu(),  # type: ignore[union-attr]
        }
        for name, p in run.strategy.network.named_parameters()
        if name in run.importances and id(p) in names
    }


def _head(run: Run, task: int) -> dict[str, Tensor]:
    network = run.strategy.network
    if not isinstance(network, Network):
        raise ValueError(
            f"{run.folder}: only a network of one body with heads fits this layout; "
            f"{run.results['strategy']} has another"
        )
    heads = network.heads
    head, columns = heads.of(task), slice(None)
    layers = list(head) if isinstance(head, Head) else []
    if isinstance(heads, OutputMatrix):
        layers, columns = [*heads.below, heads.output], heads.columns[task]
    *hidden, output = [layer for layer in layers if not isinstance(layer, nn.Dropout)]
    found = {"fc.weight": output.weight[columns], "fc.bias": output.bias[columns]}  # type: ignore[index]
    for number, layer in enumerate(hidden):
        found |= {f"hidden.{number}.{key}": value for key, value in layer.state_dict().items()}
    return {name: value.detach().cpu().clone() for name, value in found.items()}


def _save(path: Path, content: dict[str, Tensor] | dict[str, dict[str, Tensor]]) -> None:
    write_with(path, lambda temporary: torch.save(content, temporary))


def main(arguments: list[str]) -> int:
    """The command line; gives the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m lifelong.export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("target", type=Path, metavar="FOLDER or FILE")
    parser.add_argument("--ticket", action="store_true", help="write a lifelong ticket")
    parser.add_argument("--stage", type=int, metavar="N", help="after N tasks; default: all")
    given = parser.parse_args(arguments)
    try:
        run = load_stage(given.run, given.stage)
        if given.ticket:
            ticket = export_ticket(run, given.target)
            size = given.target.stat().st_size / 1e6
            left, stage = 100 * ticket.remaining, ticket.provenance["stage"]
            print(
                f"written: {given.target}, the mask found for stage {stage}, {left:.2f} % of the "
                f"weights, {size:.2f} MB"
            )
        else:
            export(run, given.target)
            print(f"written: {given.target / 'models'}")
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
