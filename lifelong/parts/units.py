"""Units of layers that grow: which weights a phase of training takes, and thresholds on them.

A unit is a filter of a convolution or a neuron; a weight belongs to a pair of units (u, v), v being
the one below.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.networks.expandable import Growing

Values = tuple[Tensor, Tensor]  # weight and bias of a layer
Trained = tuple[Tensor, Tensor]  # of a layer: pairs of units (u, v) and units (u,) that are trained


def all_of(layer: Growing, value: bool = True) -> Trained:
    """Masks of all of a layer's weights and biases."""
    device = layer.weight.device
    return (
        torch.full(layer.weight.shape[:2], value, device=device),
        torch.full(layer.bias.shape, value, device=device),
    )


def involving_new(layers: Sequence[Growing], widths: Sequence[int]) -> list[Trained]:
    """What comes from or goes to new units, and the biases of these.

    Args:
        layers: from below.
        widths: units of each before the new ones came.
    """
    found, below = [], None
    for layer, width in zip(layers, widths, strict=True):
        pairs, units = all_of(layer, False)
        pairs[width:] = True
        units[width:] = True
        if below is not None:
            pairs[:, below:] = True
        found.append((pairs, units))
        below = width
    return found


def connected(layers: Sequence[Growing], head: Growing, widths: Sequence[int]) -> list[Trained]:
    """Units that a head's outputs depend on, through weights that are not zero; and the head.

    Args:
        layers: from below.
        head: above them.
        widths: units of each layer that the head's task sees.
    """
    units = _linked(head).any(0)  # (v,) of the last layer
    whole, outputs = all_of(head)
    found = [(units.expand(whole.shape).clone(), outputs)]
    for number in reversed(range(len(widths))):
        layer = layers[number]
        units = F.pad(units, (0, len(layer.bias) - len(units)))
        pairs = units[:, None].expand(layer.weight.shape[:2]).clone()
        here = units
        if number > 0:
            links = _linked(layer) & pairs
            links[:, widths[number - 1] :] = False
            units = links.any(0)
            pairs &= units
        found.append((pairs, here))
    return found[::-1]


def dead(layers: Sequence[Growing], widths: Sequence[int]) -> list[Tensor]:
    """Of each layer the new units, bool over all, whose incoming weights are all zero."""
    found = []
    for layer, width in zip(layers, widths, strict=True):
        gone = ~_linked(layer).any(1)
        gone[:width] = False
        found.append(gone)
    return found


def moved_most(layer: Growing, old: Tensor, most: int, above: float) -> Tensor:
    """Units whose incoming weights went farther than `above` from `old`, at most `most` of them.

    Those that moved most come first.
    """
    now = layer.weight[: len(old), : old.shape[1]]
    distance = (now - old).flatten(1).norm(dim=1)
    order = distance.argsort(descending=True)[:most]
    chosen: Tensor = order[distance[order] > above]
    return chosen


def copies(layers: Sequence[Growing]) -> list[Values]:
    """Weights and biases as they are now."""
    return [(layer.weight.detach().clone(), layer.bias.detach().clone()) for layer in layers]


def squared_size(layers: Sequence[Growing], trained: Sequence[Trained]) -> Tensor:
    """Squared norm of what is trained."""
    parts = []
    for layer, (pairs, units) in zip(layers, trained, strict=True):
        if layer.weight.requires_grad:
            parts += [layer.weight * _wide(pairs, layer), layer.bias * units]
    return torch.stack([part.square().sum() for part in parts]).sum()


def squared_distance(layers: Sequence[Growing], old: Sequence[Values]) -> Tensor:
    """Squared distance of the units of `old` from where they were."""
    parts = []
    for layer, (weight, bias) in zip(layers, old, strict=True):
        units, below = weight.shape[:2]
        parts += [layer.weight[:units, :below] - weight, layer.bias[:units] - bias]
    return torch.stack([part.square().sum() for part in parts]).sum()


@torch.no_grad()
def soften(layers: Sequence[Growing], threshold: float) -> None:
    """Soft threshold on all weights and biases."""
    for layer in layers:
        for values in (layer.weight, layer.bias):
            values.copy_(values.sign() * (values.abs() - threshold).clamp(min=0))


@torch.no_grad()
def put_back(layers: Sequence[Growing], trained: Sequence[Trained], held: Sequence[Values]) -> None:
    """Gives what is not trained its values in `held`."""
    for layer, (pairs, units), (weight, bias) in zip(layers, trained, held, strict=True):
        layer.weight.copy_(torch.where(_wide(pairs, layer), layer.weight, weight))
        layer.bias.copy_(torch.where(units, layer.bias, bias))


@torch.no_grad()
def shrink_groups(layers: Sequence[Growing], widths: Sequence[int], threshold: float) -> None:
    """Group soft threshold on what new units take from older, and what any take from new ones."""
    below = None
    for layer, width in zip(layers, widths, strict=True):
        every = torch.ones(len(layer.bias), dtype=torch.bool, device=layer.bias.device)
        new = every.clone()
        new[:width] = False
        _shrink(layer.weight[:, :below], new, threshold)
        if below is not None:
            _shrink(layer.weight[:, below:], every, threshold)
        below = width


def _shrink(weight: Tensor, rows: Tensor, threshold: float) -> None:
    norms = weight[rows].flatten(1).norm(dim=1)
    factors = (1 - threshold / norms.clamp(min=1e-30)).clamp(min=0)
    weight[rows] *= factors.view(-1, *[1] * (weight.dim() - 1))


def _linked(layer: Growing) -> Tensor:
    """Which pairs of units are linked, (u, v)."""
    weight = layer.weight.detach()
    return weight.flatten(2).ne(0).any(2) if weight.dim() > 2 else weight != 0


def _wide(mask: Tensor, layer: Growing) -> Tensor:
    """A mask over pairs (u, v) in the shape of the weight."""
    return mask.view(*mask.shape, *[1] * (layer.weight.dim() - 2))
