"""RanPAC: random projections of features that stay, and a ridge regression over all of them.

McDonnell, Gong, Parvaneh, Abbasnejad, van den Hengel, "RanPAC: Random Projections and Pre-trained
Models for Continual Learning", NeurIPS 2023, algorithm 1. Its first phase, adaptation to the first
task, is `adapt_first=true`, with whatever of the body is trained (`backbone.lora=8`, say).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.data.seeds import derive
from lifelong.networks import Network
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.closed_form import ClosedForm
from lifelong.strategies.learner import MakeOptimizer

RIDGES = [10.0**power for power in range(-8, 9)]
FITTED = 0.8  # of a task's images; the others decide about the ridge


class RanPAC(ClosedForm):
    """Scores are h W with h = relu(f R), R random, and W = (G + ridge I)^-1 C.

    G = sum of h h^T and C = sum of h y^T go over all images seen, in 64 bits, y being one-hot.

    Args:
        network: see `ClosedForm`.
        optimizer: see `ClosedForm`.
        schedule: see `ClosedForm`.
        adapt_first: see `ClosedForm`.
        projections: M, length of h; 0 for h = f.
        ridge: null: that of 10^-8 to 10^8 with the least squared error on a fifth of the images of
            the latest task, fitted to the others of that task, as in the official implementation.
        seed: of R and of that fifth.

    Raises:
        ValueError: a value out of range.

    >>> import torch
    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import MultiHead, Network, RanPAC, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> method = RanPAC(network, partial(SGD, lr=0.1), projections=32)
    >>> method.numbers = [3, 7]
    >>> method.learn(torch.rand(20, 16), torch.arange(20) % 2)
    >>> method.scores(torch.rand(5, 16)).shape
    torch.Size([5, 2])
    """

    divides: ClassVar[bool] = True
    projection: Tensor | None

    def __init__(
        self,
        network: Network,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        adapt_first: bool = False,
        projections: int = 10_000,
        ridge: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(network, optimizer, schedule, adapt_first=adapt_first)
        if projections < 0:
            raise ValueError(f"strategy.projections={projections}: give 1 or more, 0 for none")
        if ridge is not None and ridge <= 0:
            raise ValueError(f"strategy.ridge={ridge}: give a number above 0, or null")
        self.ridge, self.seed = ridge, seed
        features = network.body.features
        generator = torch.Generator().manual_seed(derive(seed, "projections"))
        drawn = torch.randn(features, projections, generator=generator) if projections else None
        self.register_buffer("projection", drawn, persistent=False)
        size = projections or features
        self.gram, self.labels = torch.zeros(0, 0), torch.zeros(size, 0)  # G, C
        self.weights = torch.zeros(size, 0)  # W
        self.method |= {"ridge": {}}

    def projected(self, features: Tensor) -> Tensor:  # (n, f) -> (n, M)
        """What the regression is over."""
        drawn = self.projection
        return features if drawn is None else (features @ drawn.to(features)).relu()

    def learn(self, features: Tensor, labels: Tensor) -> None:
        h = self.projected(features.double())  # small ridges are lost in the rounding of 32 bits
        y = F.one_hot(labels, len(self.numbers)).to(h)  # (n, c)
        ridge = self.chosen(h, y) if self.ridge is None else self.ridge
        self.method["ridge"][str(self.visit)] = ridge
        self.gram = self.gram.to(h) + h.T @ h if len(self.gram) else h.T @ h
        self.labels = F.pad(self.labels.to(h), (0, y.shape[1] - self.labels.shape[1])) + h.T @ y
        self.weights = solved(self.gram, self.labels, ridge)

    def chosen(self, h: Tensor, y: Tensor) -> float:
        """The ridge under which a part of the images is told best by the others."""
        generator = torch.Generator().manual_seed(derive(self.seed, "ridge", self.visit))
        order = torch.randperm(len(h), generator=generator).to(h.device)
        fitted, asked = order.split([round(FITTED * len(h)), len(h) - round(FITTED * len(h))])
        if not len(fitted) or not len(asked):
            return 1.0
        errors = [
            (answers - y[asked]).square().mean()
            for answers in of_ridges(h[fitted], y[fitted], h[asked])
        ]
        return RIDGES[int(torch.stack(errors).nan_to_num(torch.inf).argmin())]

    def scores(self, features: Tensor) -> Tensor:
        return self.projected(features) @ self.weights.to(features)

    def get_extra_state(self) -> dict[str, Any]:
        own = {name: getattr(self, name) for name in ("gram", "labels", "weights")}
        return {**super().get_extra_state(), **own}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self.gram, self.labels, self.weights = state["gram"], state["labels"], state["weights"]


def of_ridges(h: Tensor, y: Tensor, asked: Tensor) -> Iterator[Tensor]:
    """What the regression of y (n, c) on h (n, M) answers to `asked` (m, M), for each of `RIDGES`.

    By one decomposition, of h h^T or of h^T h, whichever is smaller.
    """
    if len(h) < h.shape[1]:  # W = h^T (h h^T + ridge I)^-1 y
        values, vectors = torch.linalg.eigh(h @ h.T)
        left, right = asked @ h.T @ vectors, vectors.T @ y
    else:
        values, vectors = torch.linalg.eigh(h.T @ h)
        left, right = asked @ vectors, vectors.T @ (h.T @ y)
    for ridge in RIDGES:
        yield left @ (right / (values.clamp(min=0) + ridge)[:, None])


def solved(gram: Tensor, labels: Tensor, ridge: float) -> Tensor:
    """(G + ridge I)^-1 C: (M, M) and (M, c) -> (M, c).

    Raises:
        ValueError: a ridge so small that it is lost in the rounding of G.
    """
    whole = gram.clone()
    whole.diagonal().add_(ridge)
    found, wrong = torch.linalg.solve_ex(whole, labels)
    if wrong:
        raise ValueError(
            f"strategy.ridge={ridge:g}: is lost beside the features; give a larger one, or null"
        )
    solution: Tensor = found
    return solution
