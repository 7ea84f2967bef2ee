"""`python -m lifelong.evaluate run=FOLDER`: measures a run's network after any of its stages.

    run=FOLDER     of the run; its data set is read as the run read it
    stage=3        after three visits of the stream; default: the last finished one. Runs with
                   keep=all have all stages, others the last two
    part=test      images that are asked: test, val or train
    evaluate=class class or task (with the task given); default: as in the run
    data_dir=DIR   where the data sets lie now; default: as in the run
    device=cpu     or cuda

The network answers for the tasks met until that stage and is asked about them alone.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf

from lifelong.data import Images, TaskStream
from lifelong.data.stream import EVALUATION_BATCH
from lifelong.load import Run, load_stage, replaced

OPTIONS = {
    "run": None,
    "stage": None,
    "part": "test",
    "evaluate": None,
    "data_dir": None,
    "device": "cpu",
}


def evaluate(run: Run, stream: TaskStream, part: str, by_class: bool) -> dict[int, float]:
    """Accuracy in [0, 1] of each task that the run has met until then, by its number.

    Args:
        run: see `load_run`.
        stream: of the run.
        part: `test`, `val` or `train`.
        by_class: ask without the task given.
    """
    found = {}
    for index in sorted(run.tasks):
        images: Images = getattr(stream.tasks[index], part).to(run.device)
        batches = torch.arange(len(images)).split(EVALUATION_BATCH)
        with torch.no_grad():
            right = sum(int(run.strategy.right(images[rows], by_class).sum()) for rows in batches)
        found[index] = right / max(len(images), 1)
    return found


def _given(arguments: Sequence[str]) -> dict[str, str]:
    given = dict(argument.partition("=")[::2] for argument in arguments)
    for name, value in given.items():
        if name not in OPTIONS or not value:
            raise ValueError(f"{name}={value}: give {', '.join(f'{key}=..' for key in OPTIONS)}")
    options = {**OPTIONS, **given}
    if options["run"] is None:
        raise ValueError("run=: give the folder of a run")
    if options["part"] not in ("test", "val", "train"):
        raise ValueError(f"part={options['part']}: give test, val or train")
    if options["evaluate"] not in (None, "task", "class"):
        raise ValueError(f"evaluate={options['evaluate']}: give task or class")
    if options["stage"] is not None and not str(options["stage"]).isdigit():
        raise ValueError(f"stage={options['stage']}: give a number of visits, from 1")
    if options["device"] != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"device={options['device']}: no GPU is there; give cpu")
    return options  # type: ignore[return-value]


def _stream(run: Run, data_dir: str | None) -> TaskStream:
    moved = {} if data_dir is None else {"data_dir": data_dir}
    node = replaced(OmegaConf.to_container(run.config.data), moved)
    stream: TaskStream = instantiate(node, _convert_="all")
    for index, task in run.tasks.items():
        if stream.tasks[index].classes != task.classes:
            raise ValueError(f"{run.folder}: {task.name} had the classes {list(task.classes)}")
    return stream


def main(arguments: Sequence[str]) -> int:
    """The command line; gives the exit status."""
    if not arguments or {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0 if arguments else 2
    try:
        given = _given(arguments)
        stage = None if given["stage"] is None else int(given["stage"])
        run = load_stage(given["run"], stage, given["device"])
        by_class = (given["evaluate"] or run.results["evaluate"]) == "class"
        accuracies = evaluate(run, _stream(run, given["data_dir"]), given["part"], by_class)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    how = "without the task given" if by_class else "with the task given"
    print(f"{run.folder}, after {run.step + 1} visits, {given['part']} images, {how}")
    for index, accuracy in accuracies.items():
        print(f"  {run.tasks[index].name:<24} {100 * accuracy:6.2f} %")
    print(f"  {'mean':<24} {100 * sum(accuracies.values()) / len(accuracies):6.2f} %")
    masks = getattr(run.strategy, "masks", None)
    if masks is not None:
        print(f"  {'weights remaining':<24} {100 * masks.remaining():6.2f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
