"""Small networks of shared weights and parts."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from lifelong.networks import MultiHead
from lifelong.strategies import APD
from lifelong.transfer import AdditiveTransferLayer, TransferNetwork, top
from tests.conftest import small_body, toy_visit

SGD = partial(torch.optim.SGD, lr=0.01)


def apd(variant: Any = "release", tasks: int = 2, **options: Any) -> APD:
    kind = partial(AdditiveTransferLayer, variant=variant, threshold=options.get("sparsity", 4e-4))
    network = TransferNetwork(small_body(), partial(MultiHead, hidden=[5]), kind, top)
    made = APD(network, SGD, variant=variant, **options)
    for task in range(tasks):
        made.begin_task(toy_visit(task))
    return made


def layers(made: APD) -> list[AdditiveTransferLayer]:
    return list(made._layers(0).values())
