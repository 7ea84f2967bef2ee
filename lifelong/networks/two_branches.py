"""A body with two sets of heads (Lifelong Tickets)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from lifelong.networks.network import MakeBackbone, MakeHeads, Network


class TwoBranchNetwork(Network):
    """The main heads answer; the auxiliary heads learn from batches as they come.

    Args:
        backbone: makes the body.
        heads: makes the heads for a number of features, once for each branch.

    Raises:
        ValueError: heads that do not tell the classes of different tasks apart.

    >>> import torch
    >>> from functools import partial
    >>> from lifelong import MultiHead, mlp
    >>> network = TwoBranchNetwork(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> network.add_task(0, [0, 1])
    >>> features = network.body(torch.zeros(3, 1, 8, 8))
    >>> network.auxiliary_scores(features, [0])[0].shape
    torch.Size([3, 2])
    """

    def __init__(self, backbone: MakeBackbone, heads: MakeHeads) -> None:
        super().__init__(backbone, heads)
        self.auxiliary = heads(self.body.features)
        if not self.disjoint_outputs:
            raise ValueError("heads=single: the classes of all tasks are told apart; use multi")

    def add_task(self, task: int, classes: Sequence[int]) -> None:
        super().add_task(task, classes)
        self.auxiliary.add_task(task, classes)

    def main_scores(self, features: Tensor, tasks: Sequence[int]) -> list[Tensor]:
        """Scores of the main branch for each of several tasks, (b, k) each."""
        return self.heads.task_scores(features, tasks)

    def auxiliary_scores(self, features: Tensor, tasks: Sequence[int]) -> list[Tensor]:
        """Likewise of the auxiliary branch."""
        return self.auxiliary.task_scores(features, tasks)
