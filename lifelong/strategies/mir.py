"""MIR: rehearsal of the images that the next step would interfere with most.

Aljundi, Caccia, Belilovsky, Caccia, Lin, Charlin, Tuytelaars, "Online Continual Learning with
Maximally Interfered Retrieval", NeurIPS 2019, equation 1 (ER-MIR).
"""

from __future__ import annotations

from typing import ClassVar, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from lifelong.backbones import moving
from lifelong.data import Batch, generators
from lifelong.networks import TaskNetwork
from lifelong.networks.divided import undivided
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.er import ER, EROptions
from lifelong.strategies.learner import MakeOptimizer


class MIR(ER):
    """Of some images of the memory, those whose loss a plain step on the batch raises most.

    The step is one of gradient descent with the current learning rate, whatever the optimizer is.

    Args:
        network: see `ER`.
        optimizer: see `ER`.
        schedule: see `ER`.
        candidates: C, images among which it chooses as many as a batch has.
        **options: see `ER`.

    Raises:
        ValueError: no candidate.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import MIR, MultiHead, Network, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> MIR(network, partial(SGD, lr=0.1), candidates=20).candidates
    20
    """

    divides: ClassVar[bool] = True

    def __init__(
        self,
        network: TaskNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        candidates: int = 50,
        **options: Unpack[EROptions],
    ) -> None:
        super().__init__(network, optimizer, schedule, **options)
        if candidates < 1:
            raise ValueError(f"strategy.candidates={candidates}: give 1 or more")
        self.candidates = candidates

    def rehearsed(self, batch: Batch) -> Batch:
        return self.once(lambda: self._chosen(batch))

    def _chosen(self, batch: Batch) -> Batch:
        some = self.drawn(max(self.candidates, len(batch.y)))
        if len(some.y) <= len(batch.y):
            return some
        with moving.untouched(self.network):
            raised = self.raised(batch, some)
        rows = raised.topk(len(batch.y)).indices
        here = rows.cpu()
        return Batch(some.x[rows], some.y[rows], some.t[here], some.row[here])

    def raised(self, batch: Batch, asked: Batch) -> Tensor:
        """By how much a step on `batch` raises the loss of each image of `asked`, (b,).

        Both losses are under the same draws, as those of dropout.
        """
        moved = self.moved(batch)
        draws = generators.state()
        after = self.losses(asked, moved)
        generators.put(draws)
        return after - self.losses(asked, {})

    @torch.no_grad()
    def losses(self, batch: Batch, weights: dict[str, Tensor]) -> Tensor:
        """Cross-entropy of each image, (b,), with some weights in place of the network's."""
        scores = functional_call(self.network, weights, (batch.x, batch.t))
        return F.cross_entropy(scores, batch.y, reduction="none")

    def moved(self, batch: Batch) -> dict[str, Tensor]:
        """The weights after a step on `batch`, by their names."""
        named = {n: p for n, p in self.network.named_parameters() if p.requires_grad}
        with undivided():
            loss = F.cross_entropy(self(batch.x, batch.t), batch.y)
        slopes = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        return {
            name: p.detach() if slope is None else p.detach() - self.lr_of(p) * slope
            for (name, p), slope in zip(named.items(), slopes, strict=True)
        }
