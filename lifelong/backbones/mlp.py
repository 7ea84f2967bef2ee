"""Fully connected bodies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from lifelong.backbones.backbone import Backbone, Init, Layer


class LinearLayer(Layer):
    """Linear map of the flattened input, ReLU, skip addition, dropout.

    Args:
        inputs: width of the input.
        outputs: width of the output.
        dropout: probability of dropping an output.
        init: how the weights are drawn, see `initialize`.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        dropout: float = 0.0,
        init: Init = "truncated_normal",
    ) -> None:
        if not 0 <= dropout < 1:
            raise ValueError(f"backbone.dropout={dropout}: give a probability from 0 to below 1")
        self.dropout = dropout
        super().__init__((outputs, inputs), init=init)

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.linear(x.flatten(1), weight, bias)

    def pooled(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.dropout, self.training) if self.dropout else h


def mlp(
    shape: Sequence[int],
    widths: Sequence[int],
    dropout: float = 0.0,
    init: Init = "truncated_normal",
) -> Backbone:
    """A stack of `LinearLayer` on flattened images.

    Args:
        shape: (c, h, w) of an image.
        widths: outputs of each layer.
        dropout: see `LinearLayer`.
        init: see `LinearLayer`.

    Raises:
        ValueError: no layer, or options out of range.

    >>> mlp((1, 28, 28), [256, 128]).features
    128
    """
    if not widths:
        raise ValueError("backbone.widths=[]: give the width of at least one layer")
    inputs = [math.prod(shape), *widths]
    layers = [LinearLayer(a, b, dropout, init) for a, b in zip(inputs, widths, strict=False)]
    return Backbone(layers, widths[-1])
