"""Additive parameter decomposition (APD): masked shared weights, and sparse parts of the tasks.

Yoon, Kim, Yang, Hwang, "Scalable and Order-robust Continual Learning with Additive Parameter
Decomposition", ICLR 2020. Two variants:

`release`, that of LASEM's released program (ICML 2021), whose numbers the LASEM paper reports:
cross-entropy + sparsity * mean over layers of mean |tau_t| + drift * mean over shared tensors of
||S - S_before||^2 / (2 n). There the drift term is in effect zero, which is the default here.

`full`, the paper's: the parts of earlier tasks are trained along, so that their weights stay where
they were while S moves; every few tasks, parts that are alike are joined.

Departures of `full` from the authors' program: gradients are not multiplied by ten (Adam's steps do
not depend on their scale).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader

from lifelong.data import Batch, Visit
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Strategy
from lifelong.transfer import AdditiveTransferLayer, TransferNetwork
from lifelong.transfer.clusters import join

DRIFT = {"release": 0.0, "full": 100.0}


class APD(Strategy):
    """Learns each task's mask and sparse part beside the weights that all tasks share.

    Args:
        network: a transfer network of `AdditiveTransferLayer` of the same variant.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        variant: `release` or `full`, see above.
        sparsity: lambda_1, weight of the absolute values of tau.
        drift: lambda_2, how strongly S (`release`) or the weights of earlier tasks (`full`) are
            held; null for the variant's: 0 (nominally 100) or 100.
        weight_decay: of tau, mask and, for the first task, S; only `full`.
        cluster_every: tasks between two joinings of parts; only `full`. 0 for never.
        cluster_range: entries of tau that differ by less than this within a cluster are joined.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import APD, MultiHead, convnet
    >>> from lifelong.transfer import AdditiveTransferLayer, TransferNetwork, explicit
    >>> body = partial(convnet, (1, 8, 8), [4, 8], [2, 2])
    >>> kind = partial(AdditiveTransferLayer, variant="release")
    >>> network = TransferNetwork(body, MultiHead, kind, partial(explicit, layers="11"))
    >>> method = APD(network, partial(SGD, lr=0.1), variant="release")
    >>> method.method
    {'variant': 'release', 'drift': 0.0}
    """

    divides: ClassVar[bool] = True
    acts_with: ClassVar[dict[str, str]] = {
        "weight_decay": "variant=full",
        "cluster_every": "variant=full",
        "cluster_range": "variant=full and cluster_every!=0",
    }

    network: TransferNetwork

    def __init__(
        self,
        network: TransferNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        variant: Literal["release", "full"] = "release",
        sparsity: float = 4e-4,
        drift: float | None = None,
        weight_decay: float = 1e-4,
        cluster_every: int = 5,
        cluster_range: float = 1e-2,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if cluster_every < 0:
            raise ValueError(f"strategy.cluster_every={cluster_every}: give 1 or more, 0 for never")
        self.full = variant == "full"
        self.sparsity, self.drift = sparsity, DRIFT[variant] if drift is None else drift
        self.weight_decay = weight_decay
        self.cluster_every, self.cluster_range = cluster_every, cluster_range
        self.modifies_earlier_tasks = self.full and cluster_every > 0
        self.method |= {"variant": variant, "drift": self.drift}

    def begin_task(self, visit: Visit) -> None:
        self._new = visit.task.index not in self.classes
        super().begin_task(visit)
        self._task = visit.task.index
        self._others = [other for other in self.classes if other != visit.task.index]
        if self.full:
            for other in self._others:
                for number, layer in self._layers(other).items():
                    weight = layer.masked_shared(other) + layer.own(other)
                    self._remember(f"theta_{other}_{number}", weight)
        elif self.drift:
            for number, layer in self._layers(visit.task.index).items():
                for name, value in layer.shared().named_parameters():
                    self._remember(f"before_{number}_{name}", value)

    def _remember(self, name: str, value: Tensor) -> None:
        self.register_buffer(name, value.detach().clone())

    def _layers(self, task: int) -> dict[int, AdditiveTransferLayer]:
        """The layers that `task` shares, by number."""
        layers = zip(self.network.transfer_layers(), self.network.configs[task], strict=True)
        return {
            number: layer
            for number, (layer, shared) in enumerate(layers)
            if shared and isinstance(layer, AdditiveTransferLayer)
        }

    def training_loss(self, batch: Batch) -> Tensor:
        loss = F.cross_entropy(self(batch.x, batch.t), batch.y)
        if not self._layers(self._task):
            return loss
        return loss + (self.full_terms() if self.full else self.release_terms())

    def release_terms(self) -> Tensor:
        """Sparsity of tau_t and drift of S, as means over layers and tensors."""
        layers = self._layers(self._task)
        sizes = [layer.part(self._task).tau.abs().mean() for layer in layers.values()]
        total = self.sparsity * torch.stack(sizes).mean()
        if self.drift and self._others:
            moved = [
                (value - self.get_buffer(f"before_{number}_{name}")).square().mean() / 2
                for number, layer in layers.items()
                for name, value in layer.shared().named_parameters()
            ]
            total = total + self.drift * torch.stack(moved).mean()
        return total

    def full_terms(self) -> Tensor:
        """Sparsity of all parts, hold on the weights of earlier tasks, weight decay."""
        terms = []
        for layer in self._layers(self._task).values():
            part = layer.part(self._task)
            terms.append(self.sparsity * part.tau.abs().sum())
            decayed = [part.tau, part.mask] + ([] if self._others else [layer.shared().weight])
            terms += [self.weight_decay / 2 * tensor.square().sum() for tensor in decayed]
        for other in self._others:
            for number, layer in self._layers(other).items():
                weight = layer.masked_shared(other) + layer.own(other)
                theta = self.get_buffer(f"theta_{other}_{number}")
                terms.append(self.drift / 2 * (weight - theta).square().sum())
                terms.append(self.sparsity * layer.part(other).tau.abs().sum())
        return torch.stack(terms).sum()

    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        super().end_task(visit, loader)
        met = len(self.classes)
        if self.full and self.cluster_every and self._new and met % self.cluster_every == 0:
            for layer in self.network.transfer_layers():
                if isinstance(layer, AdditiveTransferLayer):
                    tasks = [other for other in self.classes if str(other) in layer.mapping]
                    join(layer, tasks, max(1, 2 * met // 5), self.cluster_range)
        self.method["nonzero"] = self._nonzero()

    def _nonzero(self) -> dict[str, Any]:
        """Share of entries of tau that count, for each task."""
        shares = {}
        for task in self.classes:
            parts = [layer.part(task).tau.detach() for layer in self._layers(task).values()]
            threshold = self.sparsity if self.full else 0.0
            whole = sum(tau.numel() for tau in parts)
            kept = sum(int((tau.abs() > threshold).sum()) for tau in parts)
            shares[str(task + 1)] = round(kept / max(whole, 1), 6)
        return shares
