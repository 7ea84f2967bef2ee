"""Fully connected bodies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from lifelong.backbones.backbone import Backbone, Layer


class LinearLayer(Layer):
    """Linear map of the flattened input, ReLU, skip addition."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__((outputs, inputs))

    def map(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.linear(x.flatten(1), weight, bias)


def mlp(shape: Sequence[int], widths: Sequence[int]) -> Backbone:
    """A stack of `LinearLayer` on flattened images.

    Args:
        shape: (c, h, w) of an image.
        widths: outputs of each layer.
    """
    if not widths:
        raise ValueError("backbone.widths=[]: give the width of at least one layer")
    inputs = [math.prod(shape), *widths]
    layers = [LinearLayer(a, b) for a, b in zip(inputs, widths, strict=False)]
    return Backbone(layers, widths[-1])
