"""Gradients of single images, computed for many images at once."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from lifelong.data import Batch
from lifelong.networks import TaskNetwork

CHUNK = 25  # images whose gradients are held at once


def mean_squares(
    network: TaskNetwork, batches: Iterable[Batch], named: dict[str, nn.Parameter]
) -> dict[str, Tensor]:
    """Mean over images of the squared gradient of each image's cross-entropy (empirical Fisher).

    The result does not depend on how the images are batched; the network should be in evaluation
    mode, so that batch-norm does not mix images.

    Args:
        network: gives the class scores.
        batches: each of one task.
        named: parameters by their names in the network.

    Returns:
        A tensor of the shape of each parameter, by name.
    """
    totals = {name: torch.zeros_like(p) for name, p in named.items()}
    values = {name: p.detach() for name, p in named.items()}
    count = 0
    for batch in batches:
        task = int(batch.t[0])

        def loss(values: dict[str, Tensor], x: Tensor, y: Tensor, task: int = task) -> Tensor:
            scores = functional_call(_Logits(network), _inside(values), (x[None], task))
            return F.cross_entropy(scores, y[None])

        of_images = vmap(grad(loss), in_dims=(None, 0, 0), chunk_size=CHUNK)
        for name, gradients in of_images(values, batch.x, batch.y).items():
            totals[name] += gradients.square().sum(0)
        count += len(batch.y)
    return {name: total / max(count, 1) for name, total in totals.items()}


class _Logits(nn.Module):
    """The scores under one task as a module's call."""

    def __init__(self, network: TaskNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, task: int) -> Tensor:
        return self.network.logits(x, task)


def _inside(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"network.{name}": value for name, value in values.items()}
