"""DARTS over shared and private layers: a differentiable search, a baseline of LASEM (ICML 2021).

Liu, Simonyan, Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, in the form that
LASEM's released program gives it: every layer mixes its two forms by a softmax over two
selectors; on every mini-batch the selectors take a step, then the weights, with the same
optimizer and rate. A layer is shared if its selector for the shared form is higher; there is no
training after that.

Departure from the released program: the second-order form is that of the DARTS paper (one radius
for all weights, perturbed around the current weights); the program mixes up radii of layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.data import Batch, Fed, Feed, Visit
from lifelong.measures.history import append_downsampled
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.second_order import second_order
from lifelong.strategies.architecture_search import ArchitectureSearch
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Round, Rounds
from lifelong.transfer import TransferConfig, TransferNetwork
from lifelong.transfer.mixed import mixed_features

if TYPE_CHECKING:
    from lifelong.drawing import Drawings, Results


class DARTS(ArchitectureSearch):
    """Learns how much each layer is shared, and rounds that to shared or private.

    Args:
        network: a transfer network with all configurations as candidates.
        optimizer: see `Strategy`; serves selectors and weights.
        schedule: see `Strategy`.
        order: 1, or 2 for selectors that look one plain gradient step of the weights ahead.
        arch_data: images of the selectors' steps: the mini-batch of the weights' step (`train`,
            as released), or as many drawn from the validation images (`valid`).

    Raises:
        ValueError: candidates that are not all configurations.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import DARTS, MultiHead, convnet
    >>> from lifelong.transfer import HardTransferLayer, TransferNetwork, every
    >>> body = partial(convnet, (1, 8, 8), [4, 8], [2, 2])
    >>> network = TransferNetwork(body, MultiHead, HardTransferLayer, every)
    >>> method = DARTS(network, partial(SGD, lr=0.1), order=2)
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> visit = stream.visits[0]
    >>> method.begin_task(visit)
    >>> method.choice()
    (False, False)
    """

    divides: ClassVar[bool] = True
    refuses: Mapping[str, str] = {
        **ArchitectureSearch.refuses,
        "optimizer_groups": "its look-ahead takes one learning rate for all weights",
        "float16": "the step of the selectors is taken without a scaler; give bf16-mixed",
    }

    def __init__(
        self,
        network: TransferNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        order: Literal[1, 2] = 1,
        arch_data: Literal["train", "valid"] = "train",
    ) -> None:
        super().__init__(network, optimizer, schedule)
        depth = len(network.transfer_layers())
        if len(network.candidates) != 2**depth:
            raise ValueError(
                f"transfer: gives {len(network.candidates)} configurations; DARTS mixes the two "
                f"forms of every layer by itself and needs all {2**depth}; leave out transfer"
            )
        self.order = order
        self.needs_validation = self.trains_on_validation = arch_data == "valid"
        self.method |= {"order": order, "arch_data": arch_data}
        self.selectors = nn.Parameter(torch.zeros(depth, 2))  # alpha: private, shared

    @staticmethod
    def drawings(results: Results) -> Drawings:
        """See `Strategy.drawings`."""
        from lifelong.strategies.darts_figures import drawings

        return ArchitectureSearch.drawings(results) | drawings(results)

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        with torch.no_grad():
            self.selectors.zero_()

    def choice(self) -> TransferConfig:
        """Of equal selectors the private form's wins."""
        return tuple((self.selectors[:, 1] > self.selectors[:, 0]).tolist())

    def logits(self, x: Tensor, selectors: Tensor) -> Tensor:
        """Class scores of the current task under mixed layers."""
        features = mixed_features(self.network, x, self._task, selectors)
        scores: Tensor = self.network.heads(features, self._task)
        return scores

    def mixed_loss(self, batch: Batch, selectors: Tensor) -> Tensor:
        """Cross-entropy and regularisers of the current task under mixed layers."""
        shares = selectors.detach().softmax(1)[:, 1]  # it moves what it is made of, alone
        penalty = self.network.weighted_penalty(self._task, shares)
        return F.cross_entropy(self.logits(batch.x, selectors), batch.y) + penalty

    def rounds(self, visit: Visit) -> Rounds:
        held_out = Feed(visit.task.val, augment=False)
        yield Round(feeds={"held_out": held_out} if self.needs_validation else {})

    def training_loss(self, batch: Batch, held_out: Batch | None = None) -> Tensor:
        if not self.searching:
            return super().training_loss(batch)
        return self.mixed_loss(batch, self.selectors.detach())

    def on_train_batch_start(self, batch: Batch | Fed, batch_idx: int) -> None:
        """The step of the selectors, before that of the weights."""
        if not self.searching:
            return
        own, feeds = batch if isinstance(batch, Fed) else (batch, {})
        optimizer, rate = self.optimizer, self.optimizer.param_groups[0]["lr"]
        optimizer.zero_grad()
        self.selectors.grad = self.selector_gradient(own, feeds.get("held_out", own), rate)
        optimizer.step()
        self.selectors.grad = None

    def selector_gradient(self, batch: Batch, held_out: Batch, rate: float) -> Tensor:
        """Gradient of the held-out loss in the selectors, (d, 2).

        Args:
            batch: of the weights' step.
            held_out: on which the selectors are judged.
            rate: eta of the plain step that the second-order form looks ahead.
        """
        alpha = self.selectors
        if self.order == 1:
            return torch.autograd.grad(self.mixed_loss(held_out, alpha), alpha)[0]
        weights = [p for p in self.network.parameters() if p.requires_grad]
        return second_order(self.mixed_loss, alpha, weights, batch, held_out, rate)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        if self.searching:
            shares = self.selectors.detach().softmax(1)[:, 1].tolist()
            report = self.report()
            report["sharing"] = [round(share, 6) for share in shares]
            append_downsampled(
                report,
                epoch=report.get("seen", 0) + 1,
                shares=[round(share, 6) for share in shares],
            )
