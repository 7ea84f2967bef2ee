"""RMSProp as TensorFlow 1 computes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class TensorFlowRMSProp(Optimizer):
    """v <- a v + (1 - a) g^2;  w <- w - lr g / sqrt(v + eps), with v = 1 at first.

    It differs from `torch.optim.RMSprop` in the start value, in epsilon's place under the root and
    in the default decay. The start value works as a warm-up of about 1 / (1 - a) ... 100 steps.

    Args:
        params: parameters or groups of them.
        lr: learning rate.
        alpha: decay a of the mean square.
        eps: epsilon.
        initial: start value of v.

    Raises:
        ValueError: a value out of range.

    >>> import torch
    >>> w = torch.nn.Parameter(torch.ones(3))
    >>> optimizer = TensorFlowRMSProp([w], lr=0.1)
    >>> w.grad = torch.ones(3)
    >>> optimizer.step()
    >>> w
    Parameter containing:
    tensor([0.9000, 0.9000, 0.9000], requires_grad=True)
    """

    updates_alike = True  # see `TaskOptimizer`

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        alpha: float = 0.9,
        eps: float = 1e-10,
        initial: float = 1.0,
    ) -> None:
        if not 0 <= alpha < 1:
            raise ValueError(f"optimizer.alpha={alpha}: give a decay from 0 to below 1")
        if eps < 0 or initial < 0 or lr < 0:
            raise ValueError(
                f"optimizer: lr={lr}, eps={eps} and initial={initial} must not be negative"
            )
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps, "initial": initial})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                self._update(weights, group)
        return loss

    def _update(self, weights: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        squares = [self._square(weight, group["initial"]) for weight in weights]
        torch._foreach_mul_(squares, group["alpha"])
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - group["alpha"])
        roots = torch._foreach_add(squares, group["eps"])
        torch._foreach_sqrt_(roots)
        torch._foreach_addcdiv_(weights, gradients, roots, -group["lr"])

    def _square(self, weight: Tensor, initial: float) -> Tensor:
        state = self.state[weight]
        if not state:
            state["square"] = torch.full_like(weight, initial)
        square: Tensor = state["square"]
        return square
