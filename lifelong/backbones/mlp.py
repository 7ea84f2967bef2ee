"""Fully connected bodies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.backbones.backbone import Backbone, Layer

Initial = Literal["truncated_normal", "uniform"]


class LinearLayer(Layer):
    """Linear map of the flattened input, ReLU, skip addition, dropout.

    Args:
        inputs: width of the input.
        outputs: width of the output.
        dropout: probability of dropping an output.
        initial: `truncated_normal`, see `Layer`, or `uniform`: PyTorch's own, within
            1 / sqrt(inputs).
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        dropout: float = 0.0,
        initial: Initial = "truncated_normal",
    ) -> None:
        self.dropout, self.initial = dropout, initial
        super().__init__((outputs, inputs))

    def reset_parameters(self) -> None:
        if self.initial == "truncated_normal":
            super().reset_parameters()
            return
        bound = self.weight.shape[1] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def map(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.linear(x.flatten(1), weight, bias)

    def pooled(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.dropout, self.training) if self.dropout else h


def mlp(
    shape: Sequence[int],
    widths: Sequence[int],
    dropout: float = 0.0,
    initial: Initial = "truncated_normal",
) -> Backbone:
    """A stack of `LinearLayer` on flattened images.

    Args:
        shape: (c, h, w) of an image.
        widths: outputs of each layer.
        dropout: see `LinearLayer`.
        initial: see `LinearLayer`.

    Raises:
        ValueError: no layer, or options out of range.
    """
    if not widths:
        raise ValueError("backbone.widths=[]: give the width of at least one layer")
    if not 0 <= dropout < 1:
        raise ValueError(f"backbone.dropout={dropout}: give a probability from 0 to below 1")
    inputs = [math.prod(shape), *widths]
    layers = [LinearLayer(a, b, dropout, initial) for a, b in zip(inputs, widths, strict=False)]
    return Backbone(layers, widths[-1])
