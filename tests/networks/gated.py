"""A small network with gates."""

from __future__ import annotations

from functools import partial
from typing import Any

from lifelong.networks import ChannelGatedNetwork, MultiHead
from tests.conftest import small_body


def network(variant: Any = "release", tasks: int = 1) -> ChannelGatedNetwork:
    made = ChannelGatedNetwork(small_body(), partial(MultiHead, hidden=[5]), (2, 6, 6), variant)
    for task in range(tasks):
        made.add_task(task, range(3))
    return made
