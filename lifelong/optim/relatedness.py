"""How finished tasks are related to the current one: the weights of TAG.

Malviya, Ravindran, Chandar, "TAG: Task-based Accumulated Gradients for Lifelong Learning", CoLLAs
2022, equation 4, and the ablations of A.3.6. All is by tensor; what each keeps in its state: `mean`
(mu), `directions` (u_j of finished tasks), `lengths` (|mu_j|), `gradients` (the first ones).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

KINDS = ("cosine", "one", "age", "gradients")
TINY = 1e-30  # a norm below this counts as zero

State = dict[str, Any]


class Relatedness:
    """The weights w_kj of steps, and what is told of them.

    Args:
        kind: one of `KINDS`.
        whole: whether a cosine is that of all tensors together.

    Attributes:
        last: those of the last step, (tensors, tasks); None where there are none yet.
    """

    def __init__(self, kind: str, whole: bool) -> None:
        self.kind, self.whole = kind, whole
        self.last: Tensor | None = None
        self._sum, self._steps = torch.zeros(()), 0

    def begin(self) -> None:
        """Restarts the mean over steps."""
        self._sum.zero_()  # where it is: a recorded step adds to it
        self._steps = 0

    def count(self) -> None:
        """A step more has been added to the mean."""
        self._steps += 1

    def of(self, states: Sequence[State], bs: Sequence[float], tasks: int) -> Tensor:
        """w_kj of a step, (tensors, tasks), from the states and b of its tensors.

        Args:
            states: of each tensor.
            bs: b of each tensor.
            tasks: finished ones that are remembered.
        """
        self.last = weights = _weights(self.kind, states, bs, tasks, self.whole)
        found = weights.mean(0)
        if self._sum.shape != found.shape or self._sum.device != found.device:
            self._sum, self._steps = torch.zeros_like(found), 0
        self._sum.add_(found)
        return weights

    def mean(self) -> list[float]:
        """For each remembered task, the mean over the steps and over all tensors."""
        found: list[float] = (self._sum / self._steps).tolist() if self._steps else []
        return found


def _weights(
    kind: str, states: Sequence[State], bs: Sequence[float], tasks: int, whole: bool
) -> Tensor:
    like: Tensor = states[0]["mean"]
    if kind == "one":
        return like.new_ones(len(states), tasks)
    if kind == "age":  # k - j + 1 for j = k - tasks .. k - 1
        ages = torch.arange(tasks, 0, -1, device=like.device, dtype=like.dtype) + 1
        return ages.expand(len(states), tasks)
    b: Tensor | float = bs[0]
    if any(each != b for each in bs):
        b = torch.tensor([[each] for each in bs], device=like.device, dtype=like.dtype)
    if kind == "gradients":
        return torch.exp(-b * torch.stack([_gradient_cosines(s, tasks) for s in states]))
    return torch.exp(-b * _cosines(states, tasks, whole))


def latest(row: Tensor, length: int) -> Tensor:
    """The end of a row: a parameter that joined later has fewer tasks."""
    return row if row.shape[0] == length else row[row.shape[0] - length :]


def _cosines(states: Sequence[State], tasks: int, whole: bool) -> Tensor:
    """Cosines between the current task and each remembered one, (tensors, tasks)."""
    means: list[Tensor] = [s["mean"].flatten() for s in states]
    dots = means[0].new_zeros(len(states), tasks)
    for row, mean, state in zip(dots.unbind(), means, states, strict=True):
        directions = state["directions"]  # (tasks, n)
        torch.mv(directions, mean, out=latest(row, directions.shape[0]))
    norms = torch.stack(torch._foreach_norm(means))
    if whole:
        # u_j are of unit length in each tensor; the lengths of mu_j give their shares back.
        lengths = torch.stack([_padded(s["lengths"], tasks) for s in states])
        size = lengths.square().sum(0).sqrt() * norms.square().sum().sqrt()
        return ((dots * lengths).sum(0) / size.clamp(min=TINY)).expand_as(dots)
    return dots / norms.clamp(min=TINY)[:, None]


def _gradient_cosines(state: State, tasks: int) -> Tensor:
    now = state["gradients"]  # (<= B, n)
    cosines = torch.einsum("tbn,bn->tb", state["directions"][:, : len(now)], now)
    return _padded(cosines.mean(1), tasks)


def _padded(row: Tensor, length: int) -> Tensor:
    """A row with zeros before it: a parameter that joined later has fewer tasks."""
    return row if len(row) == length else F.pad(row, (length - len(row), 0))
