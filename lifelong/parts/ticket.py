"""A lifelong ticket as one file: a mask, the weights it starts from and those it ends with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lifelong.files import write_with
from lifelong.parts.masks import kept_entries

FORMAT = 1


@dataclass
class Ticket:
    """What is needed to train or to use a sparse network.

    Attributes:
        mask: see `Masks.packed`; names of kernels within the body.
        start: the network before its training under the mask, by name.
        weights: the network after it.
        tasks: descriptions of the tasks learned, in their order, see `Task.description`.
        provenance: where it comes from: run, method, stream, seed, stage, accuracy, versions.
    """

    mask: dict[str, Any]
    start: dict[str, Tensor]
    weights: dict[str, Tensor]
    tasks: list[dict[str, Any]]
    provenance: dict[str, Any]

    @property
    def remaining(self) -> float:
        """Share of the kernels' weights that are kept."""
        return float(self.mask["kept"] / max(sum(map(math.prod, self.mask["shapes"].values())), 1))

    def save(self, path: Path) -> None:
        """Writes the file; of the kernels only the weights kept, in the order of the mask."""
        content = {
            "format": FORMAT, "mask": self.mask, "tasks": self.tasks, "provenance": self.provenance,
            "start": sparse(self.start, self.mask), "weights": sparse(self.weights, self.mask),
        }  # fmt: skip
        write_with(path, lambda temporary: torch.save(content, temporary))

    @torch.no_grad()
    def into(self, network: nn.Module, trained: bool = True) -> None:
        """Gives a network of the same shape the weights, trained or those to start from.

        Raises:
            ValueError: the network lacks one of the tensors, or has it in another shape.
        """
        own = network.state_dict()
        for name, value in (self.weights if trained else self.start).items():
            if name not in own or own[name].shape != value.shape:
                raise ValueError(f"the ticket belongs to another network; {name} differs")
            own[name].copy_(value)


def load_ticket(path: str | Path) -> Ticket:
    """The ticket in a file, which is not unpickled.

    Raises:
        ValueError: no such file, or no ticket.
    """
    try:
        content = torch.load(Path(path).expanduser(), map_location="cpu", weights_only=True)
        assert content.pop("format") == FORMAT
        mask = content["mask"]
        for name in ("start", "weights"):
            content[name] = dense(content[name], mask)
        return Ticket(**content)
    except Exception as error:  # of many kinds, for a damaged or foreign file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path}: not a ticket that this version reads ({reason})") from None


def sparse(tensors: Mapping[str, Tensor], mask: dict[str, Any]) -> dict[str, Tensor]:
    """Of each masked kernel the weights kept, (k,) in their order; other tensors as they are."""
    kept = {f"body.{name}": flags for name, flags in kept_entries(mask).items()}
    return {
        name: value.detach().cpu()[kept[name]] if name in kept else value.detach().cpu().clone()
        for name, value in tensors.items()
    }


def dense(tensors: Mapping[str, Tensor], mask: dict[str, Any]) -> dict[str, Tensor]:
    """The reverse of `sparse`, with zeros in place of what the mask removes."""
    found = dict(tensors)
    for name, flags in kept_entries(mask).items():
        values = found[f"body.{name}"]
        whole = values.new_zeros(flags.shape)
        whole[flags] = values
        found[f"body.{name}"] = whole
    return found
