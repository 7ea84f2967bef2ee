"""How much each weight matters for what was learned: what a penalty on its moves is weighed by."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial, reduce
from typing import Any

import torch
from torch import Tensor

from lifelong.backbones import Wrapped
from lifelong.data import Batch, Task, Visit
from lifelong.measures.history import HISTOGRAM
from lifelong.networks import TaskNetwork
from lifelong.parts.anchor import Named, shared
from lifelong.parts.per_image import Objective, image_mean


class Importance:
    """1 for every weight; a way to estimate it overrides `__call__`.

    `strategy.importance._target_=my_file.MyImportance` holds weights by one's own.

    >>> import torch
    >>> class Size(Importance):
    ...     def __call__(self, network, visit, named):
    ...         return {name: p.detach().abs() for name, p in named.items()}
    >>> Size()(None, None, {"w": torch.nn.Parameter(torch.tensor([-2.0, 1.0]))})
    {'w': tensor([2., 1.])}
    """

    def __call__(self, network: TaskNetwork, visit: Visit, named: Named) -> dict[str, Tensor]:
        """The importance that weights have for a task just learned.

        Args:
            network: in evaluation mode.
            visit: of the task.
            named: the parameters that are held, by their names in the network.

        Returns:
            A tensor of the shape of each parameter, by name; empty where nothing is to be held.
        """
        return {name: torch.ones_like(p) for name, p in named.items()}

    def check(self, network: TaskNetwork, tasks: Sequence[Task]) -> None:
        """Refuses tasks and networks without such an importance, before anything is written.

        Raises:
            ValueError: the option, its value and what would do.
        """


def tried(
    network: TaskNetwork,
    tasks: Sequence[Task],
    estimate: Callable[[TaskNetwork, list[Batch], Named], object],
) -> None:
    """Estimates of a few images of the first task, under a copy of the network, as a trial."""
    network = copy.deepcopy(network)
    network.add_task(0, tasks[0].classes)
    network.eval()  # the new head, too
    few = tasks[0].train[torch.arange(min(3, len(tasks[0].train)))]
    estimate(network, [few], shared(network))


def try_exact(network: TaskNetwork, tasks: Sequence[Task], objective: Objective) -> None:
    """Refuses a body that a person brings whose gradients cannot be taken image by image.

    Raises:
        ValueError: it is such a body.
    """
    if isinstance(getattr(network, "body", None), Wrapped):
        tried(network, tasks, partial(image_mean, objective=objective))


def added(found: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Sums by name, of importances of the same parameters."""
    return {name: reduce(torch.add, [each[name] for each in found]) for name in found[0]}


def statistics(importances: Mapping[str, Tensor]) -> dict[str, Any]:
    """What a report shows of a task's importances.

    Returns:
        `shares`: of each parameter in their sum, but for those that have none, such as heads of
        other tasks; `histogram`: how many entries there are in each of the equal steps of their
        decimal logarithm that `HISTOGRAM` (from, to, steps) says; `zeros`.
    """
    every = torch.cat([value.flatten() for value in importances.values()]).float().cpu()
    sums = {name: float(value.sum()) for name, value in importances.items()}
    total = sum(sums.values()) or 1.0
    first, last, steps = HISTOGRAM
    logarithms = every[every > 0].log10().clamp(first, last)
    return {
        "shares": {name: round(value / total, 6) for name, value in sums.items() if value},
        "histogram": torch.histc(logarithms, steps, first, last).long().tolist(),
        "zeros": int((every <= 0).sum()),
    }
