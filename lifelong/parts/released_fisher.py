"""The Fisher information as TAG's released program takes it (CoLLAs 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from lifelong.data import Visit
from lifelong.networks import Network, OutputMatrix, TaskNetwork
from lifelong.parts.anchor import Named
from lifelong.parts.fisher import Fisher
from lifelong.parts.per_image import to_dtype_of


class ReleasedFisher(Fisher):
    """G^2, G being the gradient of the mean loss of one batch under the next task's columns.

    Empty behind the last columns, where nothing is learned that it could hold.

    Args:
        like: says how many images the batch has.
        network: with an `OutputMatrix`.

    Raises:
        ValueError: another network, or options that the program does not have.
    """

    def __init__(self, like: Fisher, network: TaskNetwork) -> None:
        super().__init__(samples=like.samples)
        if like.labels != "given" or like.estimator != "exact":
            raise ValueError(
                f"fidelity=authors: has no strategy.importance.labels={like.labels} or strategy."
                f"importance.estimator={like.estimator}"
            )
        if not isinstance(network, Network) or not isinstance(network.heads, OutputMatrix):
            raise ValueError(
                "fidelity=authors: EWC asks images under the columns of the next task, which needs "
                "heads=matrix"
            )
        self._network = (network, network.heads)  # in a tuple: no submodules

    def __call__(self, network: TaskNetwork, visit: Visit, named: Named) -> dict[str, Tensor]:
        whole, heads = self._network
        rows = torch.randperm(len(visit.train))[: self.samples]
        (batch,) = to_dtype_of([visit.train[rows]], named)
        own = heads.columns[int(batch.t[0])]
        scores = heads.output(heads.below(whole.body(batch.x)))  # (b, K), all columns
        following = scores[:, own.stop : own.stop + own.stop - own.start]
        if not following.shape[1]:
            return {}
        # The true class lies outside: softmax over the next task's columns, less the true one.
        true = scores.gather(1, (batch.y + own.start)[:, None])[:, 0]
        loss = (following.logsumexp(1) - true).mean()
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        return {
            name: torch.zeros_like(p) if gradient is None else gradient.square()
            for (name, p), gradient in zip(named.items(), gradients, strict=True)
        }
