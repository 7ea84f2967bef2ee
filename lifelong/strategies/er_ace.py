"""ER-ACE: rehearsal in which new classes do not push old ones away.

Caccia, Aljundi, Asadi, Tuytelaars, Pineau, Belilovsky, "New Insights on Reducing Abrupt
Representation Change in Online Continual Learning", ICLR 2022, equation 4 (asymmetric
cross-entropy).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.data import Batch
from lifelong.strategies.er import ER
from lifelong.strategies.strategy import Strategy


class ERACE(ER):
    """From the second task on, a batch is told apart among its own classes, old images among all.

    Images of the memory are of the current task as well, which tells new classes from old ones.
    Where each task has a head of its own (`heads=multi`), nearly the same as `ER`.

    Args:
        network: see `ER`.
        optimizer: see `ER`.
        schedule: see `ER`.
        memory: see `ER`.
        balanced: see `ER`.
        augment_memory: see `ER`.
        joint_batch: see `ER`.
        fidelity: `authors`: the memory is filled batch by batch, see `ER`.

    >>> import torch
    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import ERACE, IncrementalHead, Network, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), IncrementalHead)
    >>> method = ERACE(network, partial(SGD, lr=0.1))
    >>> method.own_classes(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([1]))
    tensor([[-inf, 2., -inf]])
    """

    divides: ClassVar[bool] = True
    refuses: Mapping[str, str] = {
        **Strategy.refuses,
        "blurry": "tells the classes of a batch apart as those of one task",
    }

    def own_classes(self, scores: Tensor, labels: Tensor) -> Tensor:
        """The scores (b, k) of the classes that are in the batch; others are -inf."""
        present = torch.zeros(scores.shape[1], dtype=torch.bool, device=scores.device)
        present[labels] = True
        return scores.masked_fill(~present, -torch.inf)

    def drawn(self, number: int) -> Batch:
        """Of all tasks: new classes are told apart from old ones by images of the memory alone."""
        return self.memory.sample(number, augment=self.augment_memory)[0]

    def loss_of_batch(self, batch: Batch) -> Tensor:
        if self.visit == 1:
            return super().loss_of_batch(batch)
        scores = self.own_classes(self(batch.x, batch.t), batch.y)
        return F.cross_entropy(scores, batch.y) + self.penalty(batch.t)
