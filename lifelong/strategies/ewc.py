"""Elastic weight consolidation (EWC): weights that mattered are held near where they were.

Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017, has a
penalty for each task (`mode=separate`). By default there is one, towards the weights at the end of
the task before, with the importances of all tasks added up (`mode=online`): Schwarz et al.,
"Progress & Compress", ICML 2018; a baseline of TAG (CoLLAs 2022).

`fidelity=clean`: after each task the squared gradients of single images under the task's own head
are averaged and added to the importance.

`fidelity=authors`, as TAG's released program: the gradient of the mean loss of one batch is
squared, the batch is asked under the columns of the next task, and F <- (F + k G^2) / (k + 1)
after task k.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lifelong.data import Batch, Visit
from lifelong.networks import Network, OutputMatrix, TaskNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.per_image import cross_entropy, image_mean, to_dtype_of
from lifelong.strategies.anchored import Anchored
from lifelong.strategies.learner import MakeOptimizer

NEXT = "with fidelity=authors it looks at the columns of the next task"


class EWC(Anchored):
    """Cross-entropy plus strength * sum of F (theta - anchor)^2; no factor 1/2.

    With `mode=separate` the sum over tasks k of F_k (theta - theta_k)^2 in its place.

    Args:
        network: see `Strategy`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        strength: lambda.
        mode: `online` or `separate`, see above.
        samples: training images of which the importance is estimated; null for all.
        estimator: `exact`, or `batched`: the squared sum of a batch's gradients over the number of
            all images, as the survey's program, which is larger.
        batch_size: images of such a batch.
        labels: whose log-probability is differentiated: those `given` (the empirical Fisher
            matrix), the `predicted` ones, or ones `sampled` from the network's probabilities.
        decay: gamma, what is left of the importance gathered so far when that of a task is added
            (online EWC), from 0 to 1.
        clip: norm to which the penalty's gradient is cut, of all weights that a step moves; null
            not to cut it.
        halve_below: see `Anchored`.
        fidelity: `clean` or `authors`, see above; the latter needs heads=matrix.
    """

    acts_with: ClassVar[dict[str, str]] = {
        "batch_size": "estimator=batched",
    }

    def __init__(
        self,
        network: TaskNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        strength: float = 2500.0,
        mode: Literal["online", "separate"] = "online",
        samples: int | None = 200,
        estimator: Literal["exact", "batched"] = "exact",
        batch_size: int = 200,
        labels: Literal["given", "predicted", "sampled"] = "given",
        decay: float = 1.0,
        clip: float | None = 100.0,
        halve_below: float = 0.0,
        fidelity: Literal["clean", "authors"] = "clean",
    ) -> None:
        super().__init__(network, optimizer, schedule, strength=strength, halve_below=halve_below)
        if samples is not None and samples < 1:
            raise ValueError(f"strategy.samples={samples}: give 1 or more, or null for all")
        if batch_size < 1:
            raise ValueError(f"strategy.batch_size={batch_size}: give 1 or more")
        if not 0 <= decay <= 1:
            raise ValueError(f"strategy.decay={decay}: give a share from 0 to 1")
        if clip is not None and clip <= 0:
            raise ValueError(f"strategy.clip={clip}: give a norm above 0, or null for no cut")
        self.samples, self.authors = samples, fidelity == "authors"
        self.labels, self.decay, self.clip = labels, decay, clip
        self.batched, self.batch_size = estimator == "batched", batch_size
        self.separate = mode == "separate"
        if self.authors and self.separate:
            raise ValueError("strategy.mode=separate: fidelity=authors has one anchor; give online")
        if self.authors and (labels != "given" or decay != 1 or self.batched):
            raise ValueError(
                f"fidelity=authors: has no strategy.labels={labels}, strategy.decay={decay} or "
                f"strategy.estimator={estimator}"
            )
        if self.authors and not (
            isinstance(network, Network) and isinstance(network.heads, OutputMatrix)
        ):
            raise ValueError(
                "fidelity=authors: EWC asks images under the columns of the next task, which needs "
                "heads=matrix"
            )
        self.refuses = {**self.refuses, "blurry": NEXT} if self.authors else self.refuses
        self.method |= {"fidelity": fidelity}

    def regularized_params(self) -> dict[str, nn.Parameter]:
        """All parameters that are trained, the heads too."""
        return {name: p for name, p in self.network.named_parameters() if p.requires_grad}

    def add_penalty_gradient(self) -> None:
        if self.clip is None:
            super().add_penalty_gradient()
            return
        moved = self.moved()
        pulls = self.anchor.gradients(moved, self.strength)
        norm = torch.stack(torch._foreach_norm(pulls)).norm()
        torch._foreach_mul_(pulls, (self.clip / (norm + 1e-6)).clamp(max=1))
        torch._foreach_add_([p.grad for p in moved.values() if p.grad is not None], pulls)

    def importance(self, visit: Visit, loader: DataLoader[Batch]) -> dict[str, Tensor]:
        rows = torch.randperm(len(visit.train))[: self.samples]
        if self.authors:
            (batch,) = to_dtype_of([visit.train[rows]], self._regularized)
            return self._squares_of_batch(batch)
        size = self.batch_size if self.batched else 200
        drawn = (visit.train[part] for part in rows.split(size))
        batches = map(self._labelled, to_dtype_of(drawn, self._regularized))
        if self.batched:
            return self._squares_of_sums(batches, len(rows))
        return image_mean(self.network, batches, self.regularized_params(), cross_entropy, "square")

    def accumulate_importance(self, name: str, found: Tensor) -> None:
        k = len(self.classes)
        if self.authors:
            self.anchor.importance(name).add_(k * found).div_(k + 1)
            return
        self.anchor.importance(name).mul_(self.decay)
        if self.separate:
            self.anchor.join(self._regularized, {name: found})
        else:
            self.anchor.importance(name).add_(found)

    def update_anchor(self) -> None:
        if not self.separate:
            super().update_anchor()

    @torch.no_grad()
    def _labelled(self, batch: Batch) -> Batch:
        if self.labels == "given":
            return batch
        scores = self.network(batch.x, batch.t)
        if self.labels == "predicted":
            return batch._replace(y=scores.argmax(1))
        return batch._replace(y=torch.multinomial(scores.softmax(1), 1)[:, 0])

    def _squares_of_sums(self, batches: Iterable[Batch], images: int) -> dict[str, Tensor]:
        named = self.regularized_params()
        totals = {name: torch.zeros_like(p) for name, p in named.items()}
        for batch in batches:
            scores = self.network(batch.x, batch.t)
            loss = cross_entropy(scores, batch.y).sum()
            gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
            for name, gradient in zip(named, gradients, strict=True):
                if gradient is not None:
                    totals[name] += gradient.square() / images
        return totals

    def _squares_of_batch(self, batch: Batch) -> dict[str, Tensor]:
        """G^2, G of the mean loss of one batch under the next task's columns."""
        network: Any = self.network
        output, named = network.heads.output, self.regularized_params()
        own = network.heads.columns[int(batch.t[0])]
        scores = output(network.heads.below(network.body(batch.x)))  # (b, K), all columns
        following = scores[:, own.stop : own.stop + own.stop - own.start]
        if not following.shape[1]:
            return {}  # after the last columns nothing is learned that it could hold
        # The true class lies outside: softmax over the next task's columns, less the true one.
        true = scores.gather(1, (batch.y + own.start)[:, None])[:, 0]
        loss = (following.logsumexp(1) - true).mean()
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        return {
            name: torch.zeros_like(p) if gradient is None else gradient.square()
            for (name, p), gradient in zip(named.items(), gradients, strict=True)
        }
