"""Methods asked about tasks that they have not begun."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lifelong.data import Task
from lifelong.data.generators import seed_all, undisturbed
from lifelong.strategies.answering import Answering


@contextmanager
def with_future_tasks(method: Answering, tasks: Mapping[int, Task]) -> Iterator[None]:
    """Within, the network has what tasks to come need, too: as they will begin, untrained.

    Args:
        method: whose network it is.
        tasks: by the seed of the new weights of each.
    """
    network, classes = method.network, method.classes
    with undisturbed():
        method.network, method.classes = copy.deepcopy(network), dict(classes)
        for seed, task in tasks.items():
            seed_all(seed)
            method.classes[task.index] = task.classes
            method.network.add_task(task.index, task.classes)
    method.network.to(method.device)
    try:
        yield
    finally:
        method.network, method.classes = network, classes
