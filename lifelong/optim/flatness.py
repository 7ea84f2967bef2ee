"""Gradients that lead to flat minima: of the loss nearby, with any optimizer and any method.

A rule is called when the gradients of a step are there. It may move the weights and ask for the
gradients of the same batch again; it leaves the weights as they were, to the last bit, and the
gradients that the optimizer is to take.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn

TINY = 1e-12  # added to the norm of a gradient
Again = Callable[[], None]  # puts gradients of the same batch, at the weights as they are now


class Flatness(ABC):
    """A rule that makes the gradients of a step those of a flatter loss.

    Attributes:
        passes: how often a step passes the batch, forward and back.

    >>> class Twice(Flatness):
    ...     passes = 1
    ...     def change(self, params, again):
    ...         for p in params:
    ...             p.grad *= 2
    >>> w = nn.Parameter(torch.ones(2))
    >>> w.grad = torch.ones(2)
    >>> Twice()([w], again=lambda: None)
    >>> w.grad
    tensor([2., 2.])
    """

    passes: ClassVar[int]

    def __call__(self, params: Sequence[nn.Parameter], again: Again) -> None:
        """Changes the gradients of some parameters, see above."""
        with _held(params):
            self.change(params, again)

    @abstractmethod
    def change(self, params: Sequence[nn.Parameter], again: Again) -> None:
        """The same; the weights are put back afterwards."""


class SAM(Flatness):
    """Sharpness-aware minimization: the gradient at the highest loss nearby, to first order.

    Foret, Kleiner, Mobahi, Neyshabur, "Sharpness-Aware Minimization for Efficiently Improving
    Generalization", ICLR 2021, equation 2; `adaptive`: Kwon, Kim, Park, Choi, "ASAM", ICML 2021.

    Args:
        rho: radius of what is nearby.
        adaptive: radii in proportion to the size of each weight (then rho is about ten times as
            large).

    Raises:
        ValueError: no radius.

    >>> w = nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> def again():
    ...     w.grad = w.detach().clone()  # of half the squared norm
    >>> again()
    >>> SAM(rho=0.5)([w], again)
    >>> w.grad, w.data
    (tensor([3.3000, 4.4000]), tensor([3., 4.]))
    """

    passes = 2

    def __init__(self, rho: float = 0.05, adaptive: bool = False) -> None:
        self.rho, self.adaptive = _radius(rho), adaptive

    def change(self, params: Sequence[nn.Parameter], again: Again) -> None:
        ways = sizes = _gradients(params)
        if self.adaptive:
            sizes = [g * p.abs() for g, p in zip(ways, params, strict=True)]
            ways = [g * p.square() for g, p in zip(ways, params, strict=True)]
        _move(params, ways, self.rho, sizes)
        again()


class CFlat(Flatness):
    """Continual flatness: SAM's gradient, and that of how steep the loss is nearby.

    Bian, Li, Yuan, Yu, Zhu, Lu, "Make Continual Learning Stronger via C-Flat", NeurIPS 2024,
    algorithm 1, with the finite differences of its official implementation.

    Args:
        rho: radius of what is nearby.
        strength: lambda, of the gradient of the steepness.

    Raises:
        ValueError: no radius, or a negative strength.

    >>> w = nn.Parameter(torch.tensor([3.0, 4.0]))
    >>> def again():
    ...     w.grad = w.detach().clone()
    >>> again()
    >>> CFlat(rho=0.5, strength=1.0)([w], again)
    >>> w.grad
    tensor([3.6000, 4.8000])
    """

    passes = 4

    def __init__(self, rho: float = 0.2, strength: float = 0.2) -> None:
        if strength < 0:
            raise ValueError(f"flatness.strength={strength}: must not be negative")
        self.rho, self.strength = _radius(rho), strength

    def change(self, params: Sequence[nn.Parameter], again: Again) -> None:
        first = _gradients(params)
        with _held(params):
            _move(params, first, self.rho)
            again()
        near = _gradients(params)  # of SAM
        rise = [a - b for a, b in zip(near, first, strict=True)]
        _move(params, rise, self.rho)
        again()
        steep = _gradients(params)
        _move(params, steep, self.rho)
        again()
        for p, a, b, c in zip(params, near, _gradients(params), steep, strict=True):
            p.grad = a + self.strength * (b - c)


@contextmanager
def _held(params: Sequence[nn.Parameter]) -> Iterator[None]:
    """Puts the weights back; a sum taken off again is not what was before."""
    start = [p.detach().clone() for p in params]
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(list(params), start)


@torch.no_grad()
def _move(
    params: Sequence[nn.Parameter],
    ways: list[Tensor],
    rho: float,
    sizes: list[Tensor] | None = None,
) -> None:
    """Moves weights by rho along some ways, over the norm of these, or of `sizes`."""
    norm = torch.stack([each.norm() for each in sizes or ways]).norm()
    torch._foreach_add_(list(params), torch._foreach_mul(ways, rho / (norm + TINY)))


@torch.no_grad()
def _gradients(params: Sequence[nn.Parameter]) -> list[Tensor]:
    """Copies; zeros where there is none."""
    return [torch.zeros_like(p) if p.grad is None else p.grad.detach().clone() for p in params]


def _radius(rho: float) -> float:
    if rho <= 0:
        raise ValueError(f"flatness.rho={rho}: give a radius above 0")
    return rho
