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

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from lifelong.networks import TaskNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.fisher import Fisher
from lifelong.parts.released_fisher import ReleasedFisher
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
        importance: F of a task.
        decay: gamma, what is left of the importance gathered so far when that of a task is added
            (online EWC), from 0 to 1.
        clip: norm to which the penalty's gradient is cut, of all weights that a step moves; null
            not to cut it.
        halve_below: see `Anchored`.
        fidelity: `clean` or `authors`, see above; the latter needs heads=matrix.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import EWC, MultiHead, Network, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> from lifelong.parts.fisher import Fisher
    >>> method = EWC(network, partial(SGD, lr=0.1), strength=20.0, importance=Fisher(samples=100))
    >>> method.method
    {'strength': 20.0, 'importances': {}, 'fidelity': 'clean'}
    """

    steps_own_heads: ClassVar[bool] = True
    capturable: ClassVar[bool] = True
    divides: ClassVar[bool] = True
    importance: Fisher

    def __init__(
        self,
        network: TaskNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        strength: float = 2500.0,
        mode: Literal["online", "separate"] = "online",
        importance: Fisher | None = None,
        decay: float = 1.0,
        clip: float | None = 100.0,
        halve_below: float = 0.0,
        fidelity: Literal["clean", "authors"] = "clean",
    ) -> None:
        super().__init__(
            network, optimizer, schedule, strength=strength, importance=importance or Fisher(),
            halve_below=halve_below,
        )  # fmt: skip
        if not 0 <= decay <= 1:
            raise ValueError(f"strategy.decay={decay}: give a share from 0 to 1")
        if clip is not None and clip <= 0:
            raise ValueError(f"strategy.clip={clip}: give a norm above 0, or null for no cut")
        self.separate, self.decay, self.clip = mode == "separate", decay, clip
        self.authors = fidelity == "authors"
        if self.authors:
            if self.separate or decay != 1:
                raise ValueError(
                    f"fidelity=authors: has no strategy.mode={mode} or strategy.decay={decay}"
                )
            self.importance = ReleasedFisher(self.importance, network)
            self.refuses = {**self.refuses, "blurry": NEXT}
        self.method |= {"fidelity": fidelity}

    def regularized_params(self) -> dict[str, nn.Parameter]:
        """All parameters that are trained, the heads too."""
        return {name: p for name, p in self.network.named_parameters() if p.requires_grad}

    @property
    def steadier(self) -> str:
        return "strategy.clip=100, or " if self.clip is None else ""

    def accumulate_importance(self, name: str, found: Tensor) -> None:
        gathered, k = self.anchor.importance(name), len(self.classes)
        if self.authors:
            gathered.add_(k * found).div_(k + 1)
            return
        gathered.mul_(self.decay)
        if self.separate:
            self.anchor.join(self._regularized, {name: found})
        else:
            gathered.add_(found)

    def update_anchor(self) -> None:
        if not self.separate:
            super().update_anchor()

    def add_penalty_gradient(self) -> None:
        if self.clip is None:
            super().add_penalty_gradient()
            return
        moved = self.moved()
        pulls = self.anchor.gradients(moved, self.strength)
        norm = torch.stack(torch._foreach_norm(pulls)).norm()
        torch._foreach_mul_(pulls, (self.clip / (norm + 1e-6)).clamp(max=1))
        torch._foreach_add_([p.grad for p in moved.values() if p.grad is not None], pulls)
