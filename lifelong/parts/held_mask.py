"""The mask of a ticket held by any method: what it removes is zero, and no step moves it."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from lifelong.parts.masks import kept_entries
from lifelong.parts.ticket import load_ticket


def hold_mask(network: nn.Module, file: str | Path) -> float:
    """Removes weights of a network's body for good.

    They are zero now, and their gradients are from now on; so no optimizer moves them, nor does
    weight decay, momentum, or a penalty on gradients. What a method itself writes into weights,
    such as noise, it writes there as well.

    Args:
        network: whose body has the kernels of the mask.
        file: of a ticket, or a state dict with masks, see `lifelong.load_ticket`.

    Returns:
        The share of the mask's weights that are kept.

    Raises:
        ValueError: no such file, no ticket, or one of another network.

    >>> file = getfixture("tmp_path") / "mask.pth"
    >>> state = {"body.0.weight_orig": torch.ones(1, 2), "body.0.weight_mask": torch.eye(2)[:1]}
    >>> torch.save(state, file)
    >>> network = nn.ModuleDict({"body": nn.Sequential(nn.Linear(2, 1))})
    >>> hold_mask(network, file)
    0.5
    """
    try:
        ticket = load_ticket(file)
    except ValueError as error:
        raise ValueError(f"mask={file}: {str(error).removeprefix(f'{file}: ')}") from None
    named = dict(network.named_parameters())
    for name, flags in kept_entries(ticket.mask).items():
        p = named.get(f"body.{name}")
        if p is None or p.shape != flags.shape:
            raise ValueError(f"mask={file}: belongs to another network; body.{name} differs")
        with torch.no_grad():
            p.masked_fill_(~flags, 0.0)
        p.register_hook(_Masked(~flags))
    return ticket.remaining


class _Masked:
    """Zeros in a gradient, on whatever device it is."""

    def __init__(self, removed: Tensor) -> None:
        self.removed = removed

    def __call__(self, gradient: Tensor) -> Tensor:
        self.removed = self.removed.to(gradient.device)
        return gradient.masked_fill(self.removed, 0.0)
