"""The diagonal of the Fisher information: squared gradients of log-probabilities (EWC)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lifelong.data import Batch, Task, Visit
from lifelong.networks import TaskNetwork
from lifelong.parts.anchor import Named
from lifelong.parts.importance import Importance, try_exact
from lifelong.parts.per_image import cross_entropy, image_mean, to_dtype_of

AT_ONCE = 200  # images that an exact estimate has in a pass


class Fisher(Importance):
    """Mean over training images of the squared gradient of log p(label | image), per weight.

    Args:
        samples: images that it is estimated of, drawn at random; null for all.
        estimator: `exact`, or `batched`: the squared sum of a batch's gradients over the number of
            all images, as the program of the survey of De Lange et al., which is larger.
        batch_size: images of such a batch.
        labels: whose log-probability is differentiated: those `given` (the empirical Fisher
            matrix), the `predicted` ones, or ones `sampled` from the network's probabilities.

    Raises:
        ValueError: a value out of range.

    >>> from functools import partial
    >>> from lifelong import MultiHead, Network, by_class, mlp
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead).eval()
    >>> network.add_task(0, [0, 1])
    >>> named = dict(network.named_parameters())
    >>> found = Fisher(samples=50, labels="predicted")(network, stream.visits[0], named)
    >>> all(bool((value >= 0).all()) for value in found.values())
    True
    """

    acts_with: ClassVar[dict[str, str]] = {"batch_size": "estimator=batched"}

    def __init__(
        self,
        *,
        samples: int | None = 200,
        estimator: Literal["exact", "batched"] = "exact",
        batch_size: int = 200,
        labels: Literal["given", "predicted", "sampled"] = "given",
    ) -> None:
        if samples is not None and samples < 1:
            raise ValueError(
                f"strategy.importance.samples={samples}: give 1 or more, or null for all"
            )
        if batch_size < 1:
            raise ValueError(f"strategy.importance.batch_size={batch_size}: give 1 or more")
        self.samples, self.estimator, self.batch_size = samples, estimator, batch_size
        self.labels = labels

    def check(self, network: TaskNetwork, tasks: Sequence[Task]) -> None:
        if self.estimator == "exact":
            try_exact(network, tasks, cross_entropy)

    def __call__(self, network: TaskNetwork, visit: Visit, named: Named) -> dict[str, Tensor]:
        rows = torch.randperm(len(visit.train))[: self.samples]
        size = self.batch_size if self.estimator == "batched" else AT_ONCE
        drawn = to_dtype_of((visit.train[part] for part in rows.split(size)), named)
        batches = (self._labelled(network, batch) for batch in drawn)
        if self.estimator == "batched":
            return squares_of_sums(network, batches, named, len(rows))
        return image_mean(network, batches, named, cross_entropy, "square")

    @torch.no_grad()
    def _labelled(self, network: TaskNetwork, batch: Batch) -> Batch:
        if self.labels == "given":
            return batch
        scores = network(batch.x, batch.t)
        if self.labels == "predicted":
            return batch._replace(y=scores.argmax(1))
        return batch._replace(y=torch.multinomial(scores.softmax(1), 1)[:, 0])


def squares_of_sums(
    network: TaskNetwork, batches: Iterable[Batch], named: Named, images: int
) -> dict[str, Tensor]:
    """Sum over batches of the squared gradient of their summed cross-entropy, over `images`."""
    totals = {name: torch.zeros_like(p) for name, p in named.items()}
    for batch in batches:
        loss = cross_entropy(network(batch.x, batch.t), batch.y).sum()
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            if gradient is not None:
                totals[name] += gradient.square() / images
    return totals
