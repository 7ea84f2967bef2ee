"""`python -m lifelong.export RUN FOLDER`: a run's state in the layout of the MAS re-implementation.

    models/shared_model.pth     the body's state dict, keys with the prefix `tmodel.`
    models/reg_params.pickle    {parameter: {"omega": importance, "init_val": anchor}}
    models/Task_1/head.pth      state dict of the task's head: fc.weight (k, f), fc.bias (k,); where
                                heads have hidden layers also hidden.0.weight, hidden.0.bias, ...
    models/Task_1/classes.txt   number of classes
    models/Task_1/performance.txt  test accuracy in [0, 1] just after the task was learned

All tensors can be read with `torch.load(..., weights_only=True)`. Tasks are numbered from 1 here.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from lifelong.evaluation.matrix import learned_at
from lifelong.files import write_text, write_with
from lifelong.load import Run, load_run
from lifelong.networks import Head, Network, OutputMatrix

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
    if len(arguments) != 2 or arguments[0] in ("-h", "--help"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        export(load_run(arguments[0]), Path(arguments[1]))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"written: {Path(arguments[1]) / 'models'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
