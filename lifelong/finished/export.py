"""A run's state in files of other layouts.

`lifelong export RUN FOLDER` writes that of the MAS re-implementation:

    models/shared_model.pth     the body's state dict, keys with the prefix `tmodel.`
    models/reg_params.pickle    {parameter: {"omega": importance, "init_val": anchor}}
    models/Task_1/head.pth      state dict of the task's head: fc.weight (k, f), fc.bias (k,); where
                                heads have hidden layers also hidden.0.weight, hidden.0.bias, ...
    models/Task_1/classes.txt   number of classes
    models/Task_1/performance.txt  test accuracy in [0, 1] just after the task was learned

`reg_params.pickle` is an ordinary pickle, as the loader of that program expects.

`lifelong export RUN FILE ticket=true [visit=N] [as=FORM]` writes the lifelong ticket of a run of
tickets_td, tickets_bu or retrain. N counts tasks learned; default: all. FORM:

    ticket    mask, weights before and after the training, see `lifelong.load_ticket`
    state     the trained network's state dict, zeros where the mask removes weights
    prune     likewise with weight_orig and weight_mask, as torch.nn.utils.prune has them
    release   as prune, in the names of the released program of Lifelong Tickets
    onnx      the trained network as ONNX: images (n, c, h, w) in the units of the data set, for
              pixels 0 to 255, to the scores of all classes met, (n, classes); needs
              `pip install lifelong[onnx]`

Of a run with `strategy.keep_rounds=true`, `round=K` gives the mask after the K-th pruning of the
visit in place of the one found for it, with the very first weights: no network was trained so.

Other tensors can be read with `torch.load(..., weights_only=True)`. Tasks are numbered from 1 here.
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from lifelong.configuration.arguments import Argument, page, parse
from lifelong.configuration.stored import read_environment
from lifelong.errors import command
from lifelong.finished.load import Run, load_run
from lifelong.measures.matrix import from_rows, learned_at
from lifelong.networks import Head, IncrementalHead, Network, OutputMatrix
from lifelong.parts.anchor import Anchor
from lifelong.parts.masks import kept_entries
from lifelong.parts.state_files import authors, joined
from lifelong.parts.ticket import Found, Ticket, dense, sparse
from lifelong.storage.checkpoint import finished_visits
from lifelong.storage.files import appearing, save, write_text, write_with
from lifelong.storage.locks import remove_leftovers
from lifelong.storage.results import visited
from lifelong.strategies import Anchored, Tickets

PREFIX = "tmodel."
FORMS = ("ticket", "state", "prune", "release", "onnx")


def export(run: Run, folder: Path) -> None:
    """Writes `folder`/models.

    Raises:
        ValueError: a network that is no body with linear heads; a folder that has one already.
    """
    models = folder / "models"
    if folder.is_file():
        raise ValueError(f"{folder}: is a file; give a folder")
    if models.exists():
        raise ValueError(f"{models}: is there already; give another folder")
    remove_leftovers(folder)
    with appearing(models) as place:
        _export(run, place)


def _export(run: Run, models: Path) -> None:
    heads = {task: _head(run, task) for task in run.tasks}
    body = run.body
    inner = getattr(body, "body", body)  # torchvision's own names where it is its network
    shared = {f"{PREFIX}{name}": value.cpu() for name, value in inner.state_dict().items()}
    _save(models / "shared_model.pth", shared)
    importances = pickle.dumps(_importances(run, inner))
    write_with(models / "reg_params.pickle", lambda temporary: temporary.write_bytes(importances))
    learned = learned_at(visited(run.results)[: run.visit])
    for task, head in heads.items():
        place = models / f"Task_{task + 1}"
        _save(place / "head.pth", head)
        write_text(place / "classes.txt", f"{len(head['fc.bias'])}\n")
        write_text(place / "performance.txt", f"{run.accuracy[learned[task], task]}\n")


def export_ticket(run: Run, path: Path, form: str = "ticket", round_: int | None = None) -> Ticket:
    """Writes the ticket that the run held after its visit.

    Args:
        run: after the visit.
        path: of the file.
        form: one of `FORMS`, see above.
        round_: the mask after that pruning of the visit, from 1; null for the one found.

    Raises:
        ValueError: a method without masks; a file that is there already.
    """
    if form not in FORMS:
        raise ValueError(f"as={form}: give {', '.join(FORMS)}")
    _method(run)
    if path.exists():
        raise ValueError(f"{path}: is there already; give another file")
    found, trained = _ticket(run)
    row = from_rows(run.results[found.measured], len(run.results["tasks"]))[trained.visit - 1]
    accuracy = [value for value in row.tolist() if not math.isnan(value)]
    if round_ is not None:
        if form != "ticket":
            raise ValueError(f"as={form}: no network was trained under the mask of a pruning")
        found, accuracy = _of_round(run, _method(trained), round_), []
    provenance = {
        **{name: run.results[name] for name in ("strategy", "data", "seed", "fidelity")},
        **{name: run.strategy.method.get(name) for name in ("unlabeled", "decide_on")},
        "visit": run.visit,
        "trained_at_visit": trained.visit,
        "accuracy": accuracy,
        "environment": read_environment(run.folder, run.config),
        "config": OmegaConf.to_yaml(run.config),
    }
    ticket = Ticket(
        mask=found.mask,
        start=found.start,
        weights=found.weights,
        start_mask=found.mask,
        tasks=[trained.tasks[index].description() for index in trained.strategy.classes],
        provenance=provenance,
    )
    if form == "ticket":
        ticket.save(path)
    elif form == "onnx":
        _write_onnx(trained, ticket, path)
    else:
        _save(path, _state_dict(ticket, form))
    return ticket


def _of_round(run: Run, strategy: Tickets, number: int) -> Found:
    """The mask after a pruning of the run's visit, and the very first weights."""
    kept = strategy.round_masks.get(str(run.visit), [])
    if not 1 <= number <= len(kept):
        raise ValueError(
            f"round {number}: {run.folder} kept {len(kept)} masks of visit {run.visit}; runs "
            "with strategy.keep_rounds=true keep all"
        )
    return Found(kept[number - 1], strategy.first, strategy.first, "")


def _masked(ticket: Ticket) -> dict[str, Tensor]:
    """The trained weights, zero where the mask removes them."""
    return dense(sparse(ticket.weights, ticket.mask), ticket.mask)


def _state_dict(ticket: Ticket, form: str) -> dict[str, Tensor]:
    """The trained network as `state`, `prune` or `release`."""
    state = _masked(ticket)
    if form == "state":
        return state
    kept = {f"body.{name}": flags for name, flags in kept_entries(ticket.mask).items()}
    name_of = authors if form == "release" else str
    named = {name_of(name): value for name, value in state.items()}
    return joined(named, {name_of(name): flags for name, flags in kept.items()})


class _Answers(nn.Module):
    """Scores of all classes met, from images in the units of the data set."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        images = run.tasks[max(run.tasks)].test
        self.register_buffer("scale", images.scale)
        self.register_buffer("shift", images.shift)
        self.network, self.tasks = run.strategy.network, run.strategy.candidate_tasks()

    def forward(self, x: Tensor) -> Tensor:
        normalised = torch.addcmul(self.shift, x, self.scale)  # type: ignore[arg-type]
        return torch.cat(self.network.all_logits(normalised, self.tasks), 1)


def _write_onnx(run: Run, ticket: Ticket, path: Path) -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ValueError(f"as=onnx: {error}; pip install 'lifelong[onnx]'") from None
    replace(ticket, weights=_masked(ticket)).into(run.strategy.network)
    images = run.tasks[max(run.tasks)].test
    if images.transform is not None:
        raise ValueError("as=onnx: data.test_transform is no part of the network; leave it out")
    sample = torch.zeros(2, *images.x.shape[1:])
    program = torch.onnx.export(
        _Answers(run).eval(), (sample,), dynamo=True, verbose=False, input_names=["images"],
        output_names=["scores"], dynamic_shapes={"x": {0: torch.export.Dim("n")}},
    )  # fmt: skip
    assert program is not None
    write_with(path, lambda temporary: program.save(temporary, external_data=False))


def _ticket(run: Run) -> tuple[Found, Run]:
    """The ticket of the run's visit; and the run after the visit in which it was trained."""
    number = run.visit
    found = _method(run).ticket_of(number)
    if found is not None:
        return found, run
    if number + 1 not in finished_visits(run.folder):
        raise ValueError(
            f"visit={number}: {run.folder} finds its mask when visit {number + 1} "
            "begins, and has no checkpoint of that; runs with keep=all have them all"
        )
    later = load_run(run.folder, number + 1, trust=run.trust)
    found = _method(later).ticket_of(number)
    if found is None:
        raise ValueError(f"visit={number}: {run.folder} holds no ticket of it")
    return found, later


def _method(run: Run) -> Tickets:
    """The method of a run of tickets.

    Raises:
        ValueError: it is a run of another method.
    """
    if not isinstance(run.strategy, Tickets):
        raise ValueError(
            f"{run.folder}: {run.results['strategy']} finds no tickets; give a run of tickets_td, "
            "tickets_bu or retrain"
        )
    return run.strategy


def _importances(run: Run, inner: nn.Module) -> dict[str, dict[str, Tensor]]:
    names = {id(p): f"{PREFIX}{name}" for name, p in inner.named_parameters()}
    anchor = run.strategy.anchor if isinstance(run.strategy, Anchored) else Anchor()
    return {
        names[id(p)]: {
            "omega": anchor.importance(name).cpu().clone(),
            "init_val": anchor.weight(name).cpu().clone(),
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
    head = heads.head_for(task)
    columns = slice(None)
    if isinstance(heads, IncrementalHead):
        raise ValueError(
            f"{run.folder}: heads=incremental has one head for all tasks, which does not fit this "
            "layout"
        )
    if isinstance(heads, OutputMatrix):
        layers, output, columns = list(heads.below), heads.output, heads.columns[task]
    elif isinstance(head, Head):
        layers, output = list(head)[:-1], head.output
    else:
        raise ValueError(f"{run.folder}: heads of one's own have no place in this layout")
    hidden = [layer for layer in layers if not isinstance(layer, nn.Dropout)]
    found = {"fc.weight": output.weight[columns], "fc.bias": output.bias[columns]}
    for number, layer in enumerate(hidden):
        found |= {f"hidden.{number}.{key}": value for key, value in layer.state_dict().items()}
    return {name: value.detach().cpu().clone() for name, value in found.items()}


def _save(path: Path, content: dict[str, Tensor]) -> None:
    save(path, content)


def _which(round_: int | None) -> str:
    return "the mask found for" if round_ is None else f"the mask after pruning {round_} of"


OPTIONS = {
    "run": Argument("folder of a run, may be given by its place", folder=True),
    "to": Argument("folder or file that is written, likewise", folder=True),
    "ticket": Argument("write a lifelong ticket", "false"),
    "as": Argument("of the ticket, see above; default: ticket", values=FORMS),
    "round": Argument("the mask after that pruning", number=True),
    "visit": Argument("after that visit; default: the last", number=True),
    "trust": Argument("of a run with parts of your own", "false"),
}


def main(arguments: Sequence[str]) -> int:
    """The command line; gives the exit status."""
    if {"-h", "--help"} & set(arguments):
        print(page(__doc__ or "", OPTIONS))
        return 0
    return command(lambda: _exported(parse(arguments, OPTIONS, ("run", "to"))))


def _exported(given: dict[str, Any]) -> int:
    if given["run"] is None or given["to"] is None or given[""]:
        raise ValueError(
            "give the folder of a run, and the folder or file to write; --help lists all"
        )
    run, target = load_run(given["run"], given["visit"], trust=given["trust"]), Path(given["to"])
    if not given["ticket"] and (given["as"] or given["round"]):
        raise ValueError("as and round: are of tickets; also give ticket=true")
    if given["ticket"]:
        ticket = export_ticket(run, target, given["as"] or "ticket", given["round"])
        size = target.stat().st_size / 1e6
        left, visit = 100 * ticket.remaining, ticket.provenance["visit"]
        print(
            f"written: {target}, {_which(given['round'])} visit {visit}, {left:.2f} % of "
            f"the weights, {size:.2f} MB"
        )
    else:
        export(run, target)
        print(f"written: {target / 'models'}")
    return 0
