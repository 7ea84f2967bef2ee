"""Winning subnetworks (WSN): each task finds a mask of weights, and trains those not yet taken.

Kang, Mina, Madjid, Yoon, Hasegawa-Johnson, Hwang, Yoo, "Forget-free Continual Learning with Winning
Subnetworks", ICML 2022, algorithm 1.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lifelong.data import Visit
from lifelong.networks import Network
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.anchor import key
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.subnetworks import Subnetworks


class WSN(Subnetworks):
    """Weights and their scores are trained together; the best share of each layer is the mask.

    The gradient of a score is that of its place in the mask (straight-through). Weights in the mask
    of an earlier task stay. A task that comes again keeps its mask and trains its head alone.

    Args:
        network: see `Subnetworks`.
        optimizer: see `Strategy`; serves weights and scores.
        schedule: see `Strategy`.
        share: c, of each layer's weights that a task uses, in (0, 1].

    Raises:
        ValueError: a share out of range.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import WSN, MultiHead, Network, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> method = WSN(network, partial(SGD, lr=0.1), share=0.25)
    >>> {name: int(mask.sum()) for name, mask in method.mask().items()}
    {'body.0.weight': 256}
    """

    divides: ClassVar[bool] = True

    def __init__(
        self,
        network: Network,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        share: float = 0.5,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if not 0 < share <= 1:
            raise ValueError(f"strategy.share={share}: give a share above 0, at most 1")
        self.share = share
        self.scores = nn.ParameterDict()
        flat = {name: name.replace(".", "_") for name in self.weights()}
        alike = Counter(flat.values())
        self._score = {name: key(name) if alike[text] > 1 else text for name, text in flat.items()}
        for name, p in self.weights().items():
            drawn = torch.empty_like(p)
            nn.init.kaiming_uniform_(drawn, a=math.sqrt(5))
            self.scores[self._score[name]] = nn.Parameter(drawn)
        self.masks: dict[int, dict[str, Tensor]] = {}  # of each task that was learned

    def mask(self) -> dict[str, Tensor]:
        """The best share of each layer by the size of the scores, bool."""
        found = {}
        for name in self.weights():
            score = self.scores[self._score[name]].detach().abs()
            found[name] = best(score, max(round(self.share * score.numel()), 1))
        return found

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        self.scores.requires_grad_(self.numbers[visit.task.index] == visit.number)

    def taken(self) -> dict[str, Tensor]:
        """Which weights are in the mask of a task, bool."""
        found = {name: torch.zeros_like(p).bool() for name, p in self.weights().items()}
        for masks in self.masks.values():
            for name, mask in masks.items():
                found[name] |= mask.to(found[name].device)
        return found

    def used(self, task: int) -> dict[str, Tensor]:
        if task in self.masks:
            return {n: p * self.masks[task][n].to(p.device) for n, p in self.weights().items()}
        found = {}
        for (name, p), mask in zip(self.weights().items(), self.mask().values(), strict=True):
            score = self.scores[self._score[name]].abs()
            found[name] = p * (mask + (score - score.detach()))  # its gradient is the score's
        return found

    def trained(self) -> dict[str, Tensor]:
        if self.current in self.masks:
            return {name: torch.zeros_like(p).bool() for name, p in self.weights().items()}
        return {name: ~mask for name, mask in self.taken().items()}

    @torch.no_grad()
    def end_task(self, visit: Visit, loader: Any) -> None:
        super().end_task(visit, loader)
        self.masks.setdefault(visit.task.index, self.mask())
        taken = self.taken()
        used, total = (sum(int(each) for each in every) for every in zip(
            *((mask.sum(), mask.numel()) for mask in taken.values()), strict=True))  # fmt: skip
        self.method["capacity"][str(visit.number)] = round(used / total, 6)

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "masks": {k: dict(v) for k, v in self.masks.items()}}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self.masks = {task: dict(masks) for task, masks in state["masks"].items()}


def best(values: Tensor, count: int) -> Tensor:
    """Whether each entry is among the `count` highest, bool; of equal ones the first are.

    >>> best(torch.tensor([1.0, 3.0, 2.0, 2.0, 2.0]), 3)
    tensor([False,  True,  True,  True, False])
    """
    flat = values.flatten()
    least = flat.kthvalue(len(flat) - count + 1).values  # a sort would take many times as long
    above, equal = flat > least, flat == least
    found: Tensor = above | (equal & (equal.cumsum(0) <= count - above.sum()))
    return found.view_as(values)
