"""Masks of weights: which entries are kept, how the smallest are removed, how masks are stored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Named = Mapping[str, nn.Parameter]


class Masks(nn.Module):
    """Which entries of some weights are kept; all at first.

    Removed weights are zero and stay so if `hold` follows every optimizer step: of plain or
    momentum SGD the kept ones then go as under a product of weight and mask.

    The state is packed, eight entries a byte, with the shapes and the number of entries kept.

    Args:
        named: the weights, by name.
    """

    def __init__(self, named: Named) -> None:
        super().__init__()
        self.keep = {name: torch.ones_like(p, dtype=torch.bool) for name, p in named.items()}

    @torch.no_grad()
    def prune(self, named: Named, rate: float, locked: Masks | None = None) -> None:
        """Removes the share `rate` of the entries kept that have the smallest absolute weights.

        Round(rate * kept) of them, over all weights together; of equal ones the first goes.

        Args:
            named: the weights.
            rate: in [0, 1].
            locked: entries that do not count and stay.

        Raises:
            ValueError: a rate out of range.
        """
        if not 0 <= rate <= 1:
            raise ValueError(f"rate={rate}: give a share from 0 to 1")
        self._here(named)
        kept = self.flat()
        if locked is not None:
            locked._here(named)
            kept = kept & ~locked.flat()
        sizes = torch.cat([named[name].detach().abs().flatten() for name in self.keep])
        places = torch.nonzero(kept).flatten()  # of what can go, in order
        order = torch.argsort(sizes[places], stable=True)
        flat = self.flat()
        flat[places[order[: round(rate * len(places))]]] = False
        self.set_flat(flat)

    @torch.no_grad()
    def hold(self, named: Named) -> None:
        """Makes the removed weights zero."""
        for name, kept in self._here(named).items():
            named[name].mul_(kept)

    @torch.no_grad()
    def hold_gradients(self, named: Named) -> None:
        """Makes the gradients of removed weights zero, so that an optimizer gathers nothing."""
        for name, kept in self._here(named).items():
            gradient = named[name].grad
            if gradient is not None:
                gradient.mul_(kept)

    def _here(self, named: Named) -> dict[str, Tensor]:
        for name, kept in self.keep.items():
            if kept.device != named[name].device:
                self.keep[name] = kept.to(named[name].device)
        return self.keep

    def flat(self) -> Tensor:
        """All masks in one, (n,) of bool."""
        return torch.cat([kept.flatten() for kept in self.keep.values()])

    def set_flat(self, flat: Tensor) -> None:
        """Takes all masks from one, see `flat`."""
        parts = flat.split([kept.numel() for kept in self.keep.values()])
        for (name, kept), part in zip(self.keep.items(), parts, strict=True):
            self.keep[name] = part.view(kept.shape).clone()

    def kept(self) -> int:
        """Entries kept."""
        return sum(int(kept.sum()) for kept in self.keep.values())

    def remaining(self) -> float:
        """Share of the entries that are kept."""
        return self.kept() / max(sum(kept.numel() for kept in self.keep.values()), 1)

    def by_layer(self) -> dict[str, float]:
        """Share of the entries of each weight that are kept."""
        return {name: float(kept.double().mean()) for name, kept in self.keep.items()}

    def packed(self) -> dict[str, Any]:
        """The masks as plain values and a tensor of bytes."""
        bits = np.packbits(self.flat().cpu().numpy())  # see `kept_entries`
        return {
            "shapes": {name: list(kept.shape) for name, kept in self.keep.items()},
            "kept": self.kept(),
            "bits": torch.from_numpy(bits),
        }

    def unpack(self, content: dict[str, Any]) -> None:
        """Takes the masks from `packed`.

        Raises:
            ValueError: they belong to other weights, or are damaged.
        """
        shapes = {name: list(kept.shape) for name, kept in self.keep.items()}
        if content["shapes"] != shapes:
            wrong = min(_differing(shapes, content["shapes"]))
            raise ValueError(f"the masks belong to other weights; {wrong} differs")
        found = kept_entries(content)
        if sum(int(kept.sum()) for kept in found.values()) != content["kept"]:
            raise ValueError("the masks are damaged: another number of entries is kept")
        self.keep = {name: kept.to(self.keep[name].device) for name, kept in found.items()}

    def get_extra_state(self) -> dict[str, Any]:
        return self.packed()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.unpack(state)


def kept_entries(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Of what `Masks.packed` gave, by name which entries are kept: bool, in the weight's shape."""
    sizes = {name: math.prod(shape) for name, shape in content["shapes"].items()}
    bits = np.unpackbits(content["bits"].cpu().numpy(), count=sum(sizes.values()))
    parts = torch.from_numpy(bits.astype(bool)).split(list(sizes.values()))
    shapes = content["shapes"].items()
    return {name: part.view(*shape) for (name, shape), part in zip(shapes, parts, strict=True)}


def _differing(one: dict[str, list[int]], other: dict[str, list[int]]) -> set[str]:
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
