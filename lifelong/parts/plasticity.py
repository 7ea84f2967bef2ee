"""Whether a network can still learn: dormant units, and how many directions its features have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lifelong.backbones.backbone import Layer
from lifelong.data import Images

BELOW = 0.025  # a unit is dormant up to this share of the mean of its layer
IMAGES = 500
BENDS = (
    Layer, nn.ReLU, nn.ReLU6, nn.GELU, nn.SiLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.PReLU,
    nn.Hardswish, nn.Mish, nn.SELU, nn.CELU, nn.Softplus,
)  # fmt: skip
LAST = (nn.Linear, nn.LayerNorm)  # modules whose units are the last dimension
SECOND = (nn.modules.conv._ConvNd, nn.modules.batchnorm._BatchNorm, nn.GroupNorm)  # the second


@torch.no_grad()
def plasticity(body: nn.Module, images: Images) -> dict[str, Any]:
    """Dormant units and effective rank of a body on the first images of a set.

    Args:
        body: from images (b, c, h, w) to features (b, f); asked as in tests.
        images: at most `IMAGES` of them are asked.

    Returns:
        `dormant`: the share of units in each layer, in the order of the data, whose mean size of
        the output is at most 0.025 of that of the layer's mean unit (Sokar, Agarwal, Castro, Evci,
        "The Dormant Neuron Phenomenon in Deep Reinforcement Learning", ICML 2023, definition 3.1);
        `effective_rank`: of the features, exp of the entropy of their singular values' shares (Roy,
        Vetterli, "The Effective Rank", EUSIPCO 2007); `features`: f.

    >>> from lifelong import mlp
    >>> from lifelong.data.sources import digits
    >>> from lifelong import by_class
    >>> images = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits").tasks[0].test
    >>> found = plasticity(mlp((1, 8, 8), [16, 12]), images)
    >>> len(found["dormant"]), found["features"]
    (2, 12)
    """
    training = body.training
    body.eval()
    try:
        x = images[torch.arange(min(len(images), IMAGES))].x
        with _watched(body, len(x)) as sizes:
            features = body(x)
    finally:
        body.train(training)
    return {
        "dormant": [round(dormant(size), 6) for size in sizes],
        "effective_rank": round(effective_rank(features), 4),
        "features": features.shape[1],
    }


def dormant(sizes: Tensor) -> float:
    """Share of units whose mean size is at most a fortieth of the layer's mean, (units,).

    >>> dormant(torch.tensor([0.0, 1.0, 1.0, 0.01]))
    0.5
    """
    return float((sizes <= BELOW * sizes.mean()).double().mean())


def effective_rank(features: Tensor) -> float:
    """Exp of the entropy of the shares of the singular values, (n, f).

    >>> round(effective_rank(torch.eye(3)), 4)
    3.0
    """
    values = torch.linalg.svdvals(features.double().cpu())
    shares = values / values.sum().clamp(min=1e-300)
    return float(torch.special.entr(shares).sum().exp())


@contextmanager
def _watched(body: nn.Module, count: int) -> Iterator[list[Tensor]]:
    """Mean size of the output of each unit of each layer, as so many images pass."""
    sizes: list[Tensor] = []
    units = 1  # the dimension of the units in what was computed last

    def see(module: nn.Module, given: Any, out: Tensor) -> None:
        nonlocal units
        if isinstance(module, (*LAST, *SECOND)):
            units = -1 if isinstance(module, LAST) else 1
        elif out.shape[0] == count:
            flat = out.detach().float().abs().movedim(1 if isinstance(module, Layer) else units, -1)
            sizes.append(flat.flatten(0, -2).mean(0).cpu())

    watched = [each for each in body.modules() if isinstance(each, (*BENDS, *LAST, *SECOND))]
    handles = [module.register_forward_hook(see) for module in watched]
    try:
        yield sizes
    finally:
        for handle in handles:
            handle.remove()
