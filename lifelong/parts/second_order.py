"""The gradient in what selects, of a loss after a step of the weights (second-order DARTS).

Liu, Simonyan, Yang, "DARTS: Differentiable Architecture Search", ICLR 2019, equations 6 to 8.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lifelong.data import Batch
from lifelong.data.generators import seed_all, undisturbed

RADIUS = 0.01  # of the perturbation of the weights, over the norm of the gradient


def second_order(
    loss: Callable[[Batch, Tensor], Tensor],
    alpha: nn.Parameter,
    weights: Sequence[nn.Parameter],
    batch: Batch,
    held_out: Batch,
    rate: float,
) -> Tensor:
    """Gradient in alpha of the held-out loss one plain gradient step of the weights ahead.

    The product with the mixed second derivative is a difference of two gradients, with the weights
    perturbed to either side. The weights are as before in the end.

    Args:
        loss: of a batch under alpha.
        alpha: what selects.
        weights: w.
        batch: of the step ahead.
        held_out: of the loss after it.
        rate: eta, of the step.

    Returns:
        Of the shape of alpha.
    """
    before = [p.detach().clone() for p in weights]
    step = torch.autograd.grad(loss(batch, alpha.detach()), weights)
    _move(weights, step, -rate)
    ahead = torch.autograd.grad(loss(held_out, alpha), [alpha, *weights])
    norm = torch.stack([g.norm() for g in ahead[1:]]).norm()
    radius = float(RADIUS / norm.clamp(min=1e-12))
    sides = []
    seed = int(torch.randint(2**31, ()))  # the two sides drop out the same
    for sign in (1, -1):
        _set(weights, before)
        _move(weights, ahead[1:], sign * radius)
        with undisturbed():
            seed_all(seed)
            sides.append(torch.autograd.grad(loss(batch, alpha), alpha)[0])
    _set(weights, before)
    return ahead[0] - rate * (sides[0] - sides[1]) / (2 * radius)


@torch.no_grad()
def _move(weights: Sequence[nn.Parameter], direction: Sequence[Tensor], by: float) -> None:
    for weight, part in zip(weights, direction, strict=True):
        weight.add_(part, alpha=by)


@torch.no_grad()
def _set(weights: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    for weight, value in zip(weights, values, strict=True):
        weight.copy_(value)
