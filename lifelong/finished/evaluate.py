"""`lifelong evaluate run=FOLDER`: measures a run's network after any of its visits.

The network answers for the seen tasks until that visit and is asked about them alone.

`lifelong evaluate file=FILE data=STREAM [visit=3] [OVERRIDE ...]` measures the weights in
a file: a ticket, or the state dict of a network of strategy=cil, also one pruned by
torch.nn.utils.prune, and as the released program of Lifelong Tickets leaves it. Other overrides are
those of `lifelong run`; nothing in the file is run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lifelong.configuration.arguments import Argument, page, parse
from lifelong.configuration.complete import complete
from lifelong.configuration.compose import composed
from lifelong.configuration.mistakes import explain
from lifelong.configuration.options import check_options
from lifelong.configuration.overrides import quoted, readable
from lifelong.configuration.plain import as_dict
from lifelong.configuration.trust import check
from lifelong.data import Images, Task, TaskStream
from lifelong.errors import command, plain, reason
from lifelong.finished.load import Run, load_run, replaced, without_files
from lifelong.measures import Tally
from lifelong.parts.ticket import load_ticket
from lifelong.strategies import Strategy, Tickets
from lifelong.strategies.answering import EvalMode

OPTIONS = {
    "run": Argument("folder of a run, may be given by its place", folder=True),
    "file": Argument("of weights, in place of a run, see above", folder=True),
    "visit": Argument("after that visit (keep=all has all); default: the last", number=True),
    "part": Argument("images that are asked", "test", ("test", "val", "train")),
    "evaluate": Argument(
        "with the task given or not; default: as the run", None, ("task", "class")
    ),
    "data_dir": Argument("where the data sets lie now; default: as in the run", folder=True),
    "device": Argument("that computes: cpu, cuda, cuda:1", "cpu"),
    "trust": Argument("build what config.yaml names, such as a method of your own", "false"),
}


def evaluate(
    strategy: Strategy, tasks: Sequence[Task], part: str, by_class: bool, device: str = "cpu"
) -> dict[int, float]:
    """Accuracy in [0, 1] of each of some tasks, by its number.

    Args:
        strategy: that has learned them.
        tasks: with their images.
        part: `test`, `val` or `train`.
        by_class: ask without the task given.
        device: of the strategy.
    """
    way: EvalMode = "class" if by_class else "task"
    found = {}
    for task in tasks:
        tally = Tally()
        images: Images = getattr(task, part).to(torch.device(device))
        with torch.no_grad():
            for rows in images.portions():
                strategy.measure(images[rows], {way: tally})
        right, total = tally.counts().get(task.index, (0, 1))
        found[task.index] = right / total
    return found


def _given(arguments: Sequence[str]) -> dict[str, Any]:
    """The options, and under "" the overrides that a file of weights needs."""
    of_file = any(argument.startswith("file=") for argument in arguments)
    given = parse(arguments, OPTIONS, () if of_file else ("run",), others=of_file)
    if (given["run"] is None) == (given["file"] is None):
        raise ValueError("run=: give the folder of a run, or file= and a file of weights")
    if given[""] and not of_file:
        raise ValueError(f"{given[''][0]}: give {', '.join(f'{name}=..' for name in OPTIONS)}")
    if given["device"] != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"device={given['device']}: no GPU is there; give cpu")
    return given


def _of_file(
    path: str, count: int | None, overrides: Sequence[str], data_dir: str | None, device: str
) -> tuple[Strategy, list[Task], float | None]:
    """The method with the weights in a file, the tasks that it knows, the share of weights left."""
    given = ["strategy=cil", "batch_size=1", *map(readable, overrides)]
    if data_dir is not None:
        given.append(f"paths.data_dir={quoted(data_dir)}")
    try:
        config = composed(given)
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ValueError(explain(error, given)) from None
    complete(config)
    check_options(config)
    ticket = load_ticket(path)
    stream: TaskStream = instantiate(config.data, _convert_="all")
    node = without_files(as_dict(config.strategy))
    strategy: Strategy = instantiate(node, _convert_="all")
    visits = stream.visits[: count or len(ticket.tasks) or None]
    for visit in visits:
        strategy.begin_task(visit)
    if not ticket.weights:
        raise ValueError(f"file={path}: holds masks and no weights")
    own = {n: v for n, v in strategy.network.state_dict().items() if torch.is_tensor(v)}
    try:
        missing = sorted(own.keys() - ticket.weights.keys())
        if missing:
            raise ValueError(f"{missing[0]} is not in it")
        # It may have heads of later tasks, which are not asked about.
        ticket.weights = {name: ticket.weights[name] for name in own}
        ticket.into(strategy.network)
    except ValueError as error:
        raise ValueError(f"file={path}: does not fit the backbone and heads; {error}") from None
    tasks = {visit.task.index: visit.task for visit in visits}
    left = ticket.remaining
    # A file of weights alone says nothing of a mask.
    return strategy.to(device).eval(), list(tasks.values()), None if left == 1 else left


def _stream(run: Run, data_dir: str | None) -> TaskStream:
    moved = {} if data_dir is None else {"data_dir": data_dir}
    node = replaced(as_dict(run.config.data), moved)  # what it refers to is in it: none is left
    if not run.trust:
        check(node, run.folder)
    try:
        check_options(OmegaConf.create(node), "data")
        stream: TaskStream = instantiate(node, _convert_="all")
    except Exception as error:  # of many kinds, for a damaged configuration
        raise ValueError(f"{run.folder}: its data cannot be read ({reason(error)})") from None
    began = run.results.get("images", {}).get("checksum")
    alike = run.results.get("measured_on", "test") == "test"  # else the run let test images go
    if alike and began not in (None, stream.checksum()):
        print(f"note: the images have another checksum than those of the run ({stream.origin})")
    for index, task in run.tasks.items():
        if stream.tasks[index].classes != task.classes:
            raise ValueError(f"{run.folder}: {task.name} had the classes {list(task.classes)}")
    return stream


def main(arguments: Sequence[str]) -> int:
    """The command line; gives the exit status."""
    if {"-h", "--help"} & set(arguments):
        print(page(__doc__ or "", OPTIONS))
        return 0
    return command(lambda: _evaluated(arguments))


def _evaluated(arguments: Sequence[str]) -> int:
    given = _given(arguments)
    remaining: float | None = None
    if given["file"] is not None:
        what, by_class = given["file"], given["evaluate"] != "task"
        strategy, tasks, remaining = _of_file(
            what, given["visit"], given[""], given["data_dir"], given["device"]
        )
    else:
        run = load_run(given["run"], given["visit"], given["device"], given["trust"])
        by_class = (given["evaluate"] or run.results["evaluate"]) == "class"
        stream = _stream(run, given["data_dir"])
        strategy, tasks = run.strategy, [stream.tasks[index] for index in sorted(run.tasks)]
        what = f"{run.folder}, after visit {run.visit}"
        if isinstance(strategy, Tickets):
            remaining = strategy.masks.remaining()
    if by_class and not strategy.supports_class_incremental():
        raise ValueError(
            "evaluate=class: a single head does not tell the classes of different tasks apart; "
            "give task"
        )
    accuracies = evaluate(strategy, tasks, given["part"], by_class, given["device"])
    how = "class-incremental" if by_class else "task-incremental"
    print(f"{what}, {given['part']} images, {how}")
    for task, accuracy in zip(tasks, accuracies.values(), strict=True):
        print(f"  {plain(task.name):<24} {100 * accuracy:6.2f} %")
    print(f"  {'mean':<24} {100 * sum(accuracies.values()) / len(accuracies):6.2f} %")
    if remaining is not None:
        print(f"  {'weights remaining':<24} {100 * remaining:6.2f} %")
    return 0
