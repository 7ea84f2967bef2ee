"""The mask of a ticket held by any method: what it removes is zero, and no step moves it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lifelong.parts.masks import kept_entries
from lifelong.parts.ticket import load_ticket


class HeldMask:
    """Weights of a network's body that are removed for good.

    Their gradients are zero wherever they are asked for, and they themselves behind every step;
    so no optimizer moves them, nor does weight decay, momentum, or what a method does to
    gradients.

    Args:
        network: whose body has the kernels of the mask.
        file: of a ticket, or a state dict with masks, see `lifelong.load_ticket`.

    Attributes:
        kept: share of the mask's weights.

    Raises:
        ValueError: no such file, no ticket, or one of another network.

    >>> file = getfixture("tmp_path") / "mask.pth"
    >>> state = {"body.0.weight_orig": torch.ones(1, 2), "body.0.weight_mask": torch.eye(2)[:1]}
    >>> torch.save(state, file)
    >>> network = nn.ModuleDict({"body": nn.Sequential(nn.Linear(2, 1))})
    >>> HeldMask(network, file).kept
    0.5
    """

    def __init__(self, network: nn.Module, file: str | Path) -> None:
        try:
            ticket = load_ticket(file)
        except ValueError as error:
            raise ValueError(f"mask={file}: {str(error).removeprefix(f'{file}: ')}") from None
        self.removed: dict[nn.Parameter, Tensor] = {}
        self.kept = ticket.remaining
        named = dict(network.named_parameters())
        for name, flags in kept_entries(ticket.mask).items():
            p = named.get(f"body.{name}")
            if p is None or p.shape != flags.shape:
                raise ValueError(f"mask={file}: belongs to another network; body.{name} differs")
            self.removed[p] = ~flags
            if p.requires_grad:
                p.register_hook(partial(self._held, p))
        self.begin()

    def _held(self, p: nn.Parameter, gradient: Tensor) -> Tensor:
        """So the network is the sparse one for all that asks for gradients, step or not."""
        return gradient.masked_fill(self.removed[p], 0.0)

    def begin(self) -> None:
        """Removes the weights, where they are now."""
        self.removed = {p: removed.to(p.device) for p, removed in self.removed.items()}
        self()

    @torch.no_grad()
    def __call__(self, *_: Any) -> None:
        """Removes the weights again, after whatever may have filled them."""
        for p, removed in self.removed.items():
            p.masked_fill_(removed, 0.0)

    def over(self, optimizer: Optimizer) -> None:
        """Holds them in each step of a new optimizer."""
        optimizer.register_step_pre_hook(self._before)
        optimizer.register_step_post_hook(self)

    @torch.no_grad()
    def _before(self, *_: Any) -> None:
        for p, removed in self.removed.items():
            if p.grad is not None:
                p.grad.masked_fill_(removed, 0.0)
