"""A lifelong ticket as one file: a mask, the weights it starts from and those it ends with.

State dicts of pruned networks, as `torch.nn.utils.prune` and the released program of Lifelong
Tickets leave them, are read as tickets too, see `lifelong.parts.state_files`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lifelong.parts.masks import kept_entries, packed
from lifelong.parts.state_files import parted, read_state
from lifelong.storage.files import load, load_error, save

FORMAT = 1


class Found(NamedTuple):
    """A ticket as a method has it.

    Attributes:
        mask: see `Masks.packed`.
        start: the weights from which it was trained.
        weights: trained.
        measured: key of the results under which its accuracies stand.
    """

    mask: dict[str, Any]
    start: dict[str, Tensor]
    weights: dict[str, Tensor]
    measured: str


@dataclass
class Ticket:
    """What is needed to train or to use a sparse network.

    Attributes:
        mask: see `Masks.packed`; names of kernels within the body.
        start: the network before its training under the mask, by name; empty where a file has
            masks alone.
        weights: the network after it, likewise.
        tasks: descriptions of the tasks learned, in their order, see `Task.description`; empty for
            a state dict of another program.
        provenance: where it comes from: run, method, stream, seed, stage, accuracy, versions.
        start_mask: what `start` has of the kernels, see `Masks.packed`; empty for all.
    """

    mask: dict[str, Any]
    start: dict[str, Tensor]
    weights: dict[str, Tensor]
    tasks: list[dict[str, Any]]
    provenance: dict[str, Any]
    start_mask: dict[str, Any]

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
        save(path, content)

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
    """The ticket in a file, of which nothing is run: one of ours, or a state dict.

    Of a state dict `start` are the weights as they are (`weight_orig`), and `weights` those under
    the masks; kernels without a mask are kept whole.

    Raises:
        ValueError: no such file, or no ticket.

    >>> import torch
    >>> mask = torch.tensor([[1.0, 0.0]])
    >>> file = getfixture("tmp_path") / "weights.pth"
    >>> torch.save({"stem.weight_orig": torch.ones(1, 2), "stem.weight_mask": mask}, file)
    >>> load_ticket(file).remaining
    0.5
    """
    place = Path(path).expanduser()
    if not place.exists():
        raise ValueError(f"{path}: no such file")
    try:
        content = load(place)
    except Exception:  # of many kinds, for a damaged or foreign file
        content = None
    if not isinstance(content, dict) or "format" not in content:
        return _of_state(read_state(place), path)
    try:
        if content.pop("format") != FORMAT:
            raise ValueError("of another version")
        mask = content["mask"]
        for name in ("start", "weights"):
            content[name] = dense(content[name], mask)
        return Ticket(**content, start_mask=mask)
    except Exception as error:  # likewise
        raise ValueError(
            f"{path}: not a ticket that this version reads ({load_error(error)})"
        ) from None


def _of_state(state: Mapping[str, Tensor], path: str | Path) -> Ticket:
    """The ticket that a state dict of a pruned network stands for."""
    weights, masks = parted(state)
    kernels = {name: value for name, value in weights.items() if value.dim() == 4}
    whole = {name: torch.ones_like(value, dtype=torch.bool) for name, value in kernels.items()}
    kept = {name: masks.get(name, flags) for name, flags in (whole | masks).items()}
    if not kept:
        raise ValueError(f"{path}: has neither masks nor kernels of convolutions")
    pruned = {n: value * kept[n] if n in kept else value for n, value in weights.items()}
    mask = packed({name.removeprefix("body."): flags for name, flags in kept.items()})
    return Ticket(mask, weights, pruned, [], {}, start_mask={})


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
