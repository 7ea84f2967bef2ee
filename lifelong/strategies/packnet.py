"""PackNet: a task leaves the smallest of its weights to the next ones, and keeps the others.

Mallya, Lazebnik, "PackNet: Adding Multiple Tasks to a Single Network by Iterative Pruning", CVPR
2018. As there, biases and normalisation are those of the first task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from lifelong.data import Visit
from lifelong.networks import Network
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Round, Rounds
from lifelong.strategies.subnetworks import Subnetworks

NOBODY = -1  # owns no weight


class PackNet(Subnetworks):
    """Trains all free weights, prunes the smallest of each layer, and trains what is left again.

    A task answers with its own weights and those of all tasks before it. A task that comes again
    trains its head alone.

    Args:
        network: see `Subnetworks`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        prune: share of a layer's free weights that a task leaves, in [0, 1); or one for each visit,
            of which the last goes on.
        retrain_epochs: of the training after the pruning.

    Raises:
        ValueError: a value out of range.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import MultiHead, Network, PackNet, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> method = PackNet(network, partial(SGD, lr=0.1), prune=0.75)
    >>> sorted(method.owner)
    ['body.0.weight']
    """

    divides: ClassVar[bool] = True

    def __init__(
        self,
        network: Network,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        prune: float | Sequence[float] = 0.5,
        retrain_epochs: int = 10,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        shares = [prune] if isinstance(prune, int | float) else list(prune)
        if not shares or not all(0 <= share < 1 for share in shares):
            raise ValueError(f"strategy.prune={prune}: give a share from 0 to below 1")
        if retrain_epochs < 1:
            raise ValueError(f"strategy.retrain_epochs={retrain_epochs}: give 1 or more")
        self.prune, self.retrain_epochs = shares, retrain_epochs
        self.dense = False  # whether all free weights are trained
        # Number of the visit whose weight an entry is; 0: free.
        self.owner = {
            name: torch.zeros_like(p, dtype=torch.int16) for name, p in self.weights().items()
        }

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        self.dense = self.numbers[visit.task.index] == visit.number

    def rounds(self, visit: Visit) -> Rounds:
        if self.numbers[visit.task.index] != visit.number:
            yield Round("head")
            return
        self.dense = True
        yield Round()
        self._prune(visit.number)
        self.dense = False
        yield Round("retrain", epochs=self.retrain_epochs)

    @torch.no_grad()
    def _prune(self, number: int) -> None:
        """Gives the largest free weights of each layer to a visit; the others become zero."""
        used, total, share = 0, 0, self.prune[min(number, len(self.prune)) - 1]
        for name, p in self.weights().items():
            owner = self.owner[name].to(p.device).flatten()  # in the order of the entries
            places = torch.nonzero(owner == 0).flatten()
            order = p.flatten()[places].abs().argsort(descending=True, stable=True)
            kept = len(places) - round(share * len(places))
            owner[places[order[:kept]]] = number
            self.owner[name] = owner.view(p.shape)
            p[self.owner[name] == 0] = 0.0
            used, total = used + int((owner > 0).sum()), total + owner.numel()
        self.method["capacity"][str(number)] = round(used / total, 6)

    def used(self, task: int) -> dict[str, Tensor]:
        number = self.numbers.get(task, self.visit)  # of a task to come what there is
        found = {}
        for name, p in self.weights().items():
            owner = self.owner[name] = self.owner[name].to(p.device)
            there = (owner > 0) & (owner <= number)
            if self.dense and task == self.current:
                there = there | (owner == 0)
            found[name] = p * there
        return found

    def trained(self) -> dict[str, Tensor]:
        wanted = 0 if self.dense else self.visit
        if self.numbers[self.current] != self.visit:
            wanted = NOBODY
        return {name: self.owner[name].to(p.device) == wanted for name, p in self.weights().items()}

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "owner": dict(self.owner), "dense": self.dense}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self.owner, self.dense = dict(state["owner"]), state["dense"]
