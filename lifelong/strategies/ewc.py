"""Elastic weight consolidation (EWC): weights that mattered are held near where they were.

Kirkpatrick et al., "Overcoming catastrophic forgetting in neural networks", PNAS 2017; one online
importance and one anchor, as a baseline of TAG (CoLLAs 2022).

`fidelity=clean`: after each task the squared gradients of single images under the task's own head
are averaged and added to the importance.

`fidelity=authors`, as TAG's released program: the gradient of the mean loss of one batch is
squared, the batch is asked under the columns of the next task, and F <- (F + k G^2) / (k + 1)
after task k.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import nn
from torch.utils.data import DataLoader

from lifelong.data import Batch, Task
from lifelong.networks import Network, OutputMatrix, TaskNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.anchor import Anchor
from lifelong.parts.per_image import mean_squares
from lifelong.strategies.strategy import MakeOptimizer, Strategy

CLIP = 100.0  # norm to which the gradient of the penalty is cut


class EWC(Strategy):
    """Cross-entropy plus strength * sum of F (theta - anchor)^2; no factor 1/2.

    The gradient of the penalty alone is cut to a norm of 100.

    Args:
        network: see `Strategy`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        strength: lambda.
        samples: training images of which the importance is estimated; null for all.
        fidelity: `clean` or `authors`, see above; the latter needs heads=matrix.
    """

    refuses: ClassVar[dict[str, str]] = Strategy.refuses | {
        "precision": "the penalty is added to gradients as they are, not scaled"
    }

    def __init__(
        self,
        network: TaskNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        strength: float = 1.0,
        samples: int | None = 200,
        fidelity: Literal["clean", "authors"] = "clean",
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if strength < 0:
            raise ValueError(f"strategy.strength={strength}: must not be negative")
        if samples is not None and samples < 1:
            raise ValueError(f"strategy.samples={samples}: give 1 or more, or null for all")
        self.strength, self.samples, self.authors = strength, samples, fidelity == "authors"
        if self.authors and not (
            isinstance(network, Network) and isinstance(network.heads, OutputMatrix)
        ):
            raise ValueError(
                "fidelity=authors: EWC asks images under the columns of the next task, which needs "
                "heads=matrix"
            )
        self.anchor = Anchor()
        self.method = {"fidelity": fidelity, "strength": strength}

    def begin_task(self, task: Task) -> None:
        super().begin_task(task)
        self.anchor.extend(self._named())

    def _named(self) -> dict[str, nn.Parameter]:
        return dict(self.network.named_parameters())

    @torch.no_grad()
    def on_after_backward(self) -> None:
        if len(self.classes) < 2 or not self.strength:
            return
        named = self._named()
        gradients = self.anchor.gradients(named)
        torch._foreach_mul_(gradients, self.strength)
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        torch._foreach_mul_(gradients, (CLIP / (norm + 1e-6)).clamp(max=1))
        for p, gradient in zip(named.values(), gradients, strict=True):
            if p.grad is not None:
                p.grad += gradient

    def end_task(self, task: Task, loader: DataLoader[Batch]) -> None:
        super().end_task(task, loader)
        named = self._named()
        self.anchor.hold(named)
        rows = torch.randperm(len(task.train))[: self.samples]
        self.eval()
        if self.authors:
            self._add_of_batch(task.train[rows], named, len(self.classes))
        else:
            batches = (task.train[part] for part in rows.split(200))
            for name, square in mean_squares(self.network, batches, named).items():
                self.anchor.importance(name).add_(square)
        self.train()

    def _add_of_batch(self, batch: Batch, named: dict[str, nn.Parameter], k: int) -> None:
        """F <- (F + k G^2) / (k + 1), G of one batch under the next task's columns."""
        network: Any = self.network
        output = network.heads.output
        own = network.heads.columns[int(batch.t[0])]
        scores = output(network.heads.below(network.body(batch.x)))  # (b, K), all columns
        following = scores[:, own.stop : own.stop + own.stop - own.start]
        if not following.shape[1]:
            return  # after the last columns nothing is learned that it could hold
        # The true class lies outside: softmax over the next task's columns, less the true one.
        true = scores.gather(1, (batch.y + own.start)[:, None])[:, 0]
        loss = (following.logsumexp(1) - true).mean()
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            square = 0.0 if gradient is None else gradient.square()
            importance = self.anchor.importance(name)
            importance.add_(k * square).div_(k + 1)
