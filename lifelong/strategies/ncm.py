"""Nearest class mean (NCM): an image has the class whose mean feature is nearest.

Mensink, Verbeek, Perronnin, Csurka, "Distance-Based Image Classification: Generalizing to New
Classes at Near-Zero Cost", TPAMI 2013; on pretrained bodies a baseline that is hard to beat
(Janson, Zhang, Aljundi, Elhoseiny, "A Simple Baseline that Questions the Use of Pretrained-Models
in Continual Learning", 2022).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.networks import Network
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.closed_form import ClosedForm
from lifelong.strategies.learner import MakeOptimizer


class NCM(ClosedForm):
    """The score of a class is how near its mean feature is.

    Args:
        network: see `ClosedForm`.
        optimizer: see `ClosedForm`.
        schedule: see `ClosedForm`.
        adapt_first: see `ClosedForm`.
        distance: `cosine` of feature and mean, or `euclidean`: minus half the squared distance.

    >>> import torch
    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import NCM, MultiHead, Network, mlp
    >>> method = NCM(Network(partial(mlp, (1, 8, 8), [16]), MultiHead), partial(SGD, lr=0.1))
    >>> method.numbers = [3, 7]
    >>> method.learn(torch.eye(16)[:4], torch.tensor([0, 0, 1, 1]))
    >>> method.scores(torch.eye(16)[:1]).argmax()
    tensor(0)
    """

    divides: ClassVar[bool] = True

    def __init__(
        self,
        network: Network,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        adapt_first: bool = False,
        distance: Literal["cosine", "euclidean"] = "cosine",
    ) -> None:
        super().__init__(network, optimizer, schedule, adapt_first=adapt_first)
        self.cosine = distance == "cosine"
        features = network.body.features
        self.sums, self.counts = torch.zeros(0, features), torch.zeros(0)  # (c, f), (c,)

    def learn(self, features: Tensor, labels: Tensor) -> None:
        new = len(self.numbers) - len(self.counts)
        sums = F.pad(self.sums.to(features), (0, 0, 0, new))
        counts = F.pad(self.counts.to(features), (0, new))
        self.sums = sums.index_add(0, labels, features)
        self.counts = counts.index_add(0, labels, torch.ones_like(features[:, 0]))

    def scores(self, features: Tensor) -> Tensor:
        means = self.sums.to(features) / self.counts.to(features)[:, None]
        if self.cosine:
            return F.normalize(features) @ F.normalize(means).T
        return -0.5 * torch.cdist(features, means).square()

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "sums": self.sums, "counts": self.counts}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self.sums, self.counts = state["sums"], state["counts"]
