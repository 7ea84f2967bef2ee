"""Masks of weights: which entries are kept, how the smallest are removed, how masks are stored."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

Named = Mapping[str, nn.Parameter]
Ranking = Literal["magnitude", "layerwise", "random"]


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

    @property
    def nbytes(self) -> int:
        """Bytes of the masks, packed."""
        return -(-sum(kept.numel() for kept in self.keep.values()) // 8)

    @torch.no_grad()
    def prune(
        self,
        named: Named,
        rate: float,
        locked: Masks | None = None,
        ranking: Ranking = "magnitude",
    ) -> None:
        """Removes the share `rate` of the entries kept, round(rate * kept) of them.

        Args:
            named: the weights.
            rate: in [0, 1].
            locked: entries that do not count and stay.
            ranking: `magnitude`: those of the smallest absolute weights, over all weights together;
                of equal ones the first goes. `layerwise`: likewise of each weight by itself.
                `random`: any, over all weights together, drawn on the CPU.

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
        if ranking == "random":
            sizes = torch.rand(len(sizes)).to(sizes.device)
        counts = [entry.numel() for entry in self.keep.values()]
        flat, first = self.flat(), 0
        for count in counts if ranking == "layerwise" else [sum(counts)]:
            here = slice(first, first + count)
            places = first + torch.nonzero(kept[here]).flatten()  # of what can go, in order
            order = torch.argsort(sizes[places], stable=True)
            flat[places[order[: round(rate * len(places))]]] = False
            first += count
        self.set_flat(flat)

    @torch.no_grad()
    def hold(self, named: Named) -> None:
        """Makes the removed weights zero."""
        for name, kept in self._here(named).items():
            named[name].masked_fill_(~kept, 0)  # a product would give negative zeros

    @torch.no_grad()
    def hold_gradients(self, named: Named) -> None:
        """Makes the gradients of removed weights zero, so that an optimizer gathers nothing."""
        for name, kept in self._here(named).items():
            gradient = named[name].grad
            if gradient is not None:
                gradient.masked_fill_(~kept, 0)

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
        return packed(self.keep)

    def unpack(self, content: dict[str, Any]) -> None:
        """Takes the masks from `packed`.

        Raises:
            ValueError: they belong to other weights, or are damaged.
        """
        shapes = {name: list(kept.shape) for name, kept in self.keep.items()}
        if content["shapes"] != shapes:
            wrong = min(_differing(shapes, content["shapes"]))
            raise ValueError(f"the masks belong to other weights; {wrong} differs")
        entries = kept_entries(content)
        found = {name: entries[name] for name in shapes}  # in the order of the weights
        if sum(int(kept.sum()) for kept in found.values()) != content["kept"]:
            raise ValueError("the masks are damaged: another number of entries is kept")
        self.keep = {name: kept.to(self.keep[name].device) for name, kept in found.items()}

    def get_extra_state(self) -> dict[str, Any]:
        return self.packed()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.unpack(state)


def packed(keep: Mapping[str, Tensor]) -> dict[str, Any]:
    """Masks (bool) by name as `Masks.packed` gives them: eight entries a byte."""
    flat = torch.cat([kept.flatten() for kept in keep.values()]).cpu()
    return {
        "shapes": {name: list(kept.shape) for name, kept in keep.items()},
        "kept": int(flat.sum()),
        "bits": torch.from_numpy(np.packbits(flat.numpy())),  # see `kept_entries`
    }


def kept_entries(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """Of what `Masks.packed` gave, by name which entries are kept: bool, in the weight's shape."""
    sizes = {name: math.prod(shape) for name, shape in content["shapes"].items()}
    bits = np.unpackbits(content["bits"].cpu().numpy(), count=sum(sizes.values()))
    parts = torch.from_numpy(bits.astype(bool)).split(list(sizes.values()))
    shapes = content["shapes"].items()
    return {name: part.view(*shape) for (name, shape), part in zip(shapes, parts, strict=True)}


def _differing(one: dict[str, list[int]], other: dict[str, list[int]]) -> set[str]:
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
