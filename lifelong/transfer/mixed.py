"""Layers that are shared in part: each mixes its two forms (DARTS)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lifelong.backbones.backbone import flat
from lifelong.transfer.network import TransferNetwork


def mixed_features(network: TransferNetwork, x: Tensor, task: int, selectors: Tensor) -> Tensor:
    """Features (b, f) of layers that mix their forms: softmax(alpha)_l weighs the two outputs.

    The forms are mixed behind ReLU and before the pool; a skip is added before the ReLU.

    Args:
        network: whose `task` holds both forms of every layer.
        x: (b, c, h, w).
        task: index.
        selectors: alpha, (d, 2): private, shared.
    """
    outputs: list[Tensor] = []
    for layer, (private, shared) in zip(
        network.transfer_layers(), selectors.softmax(1).unbind(), strict=True
    ):
        skip = 0.0 if layer.skip is None else outputs[layer.skip]
        own = F.relu(layer.linear(x, task, False) + skip)
        common = F.relu(layer.linear(x, task, True) + skip)
        x = layer.template.pooled(private * own + shared * common)
        outputs.append(x)
    return flat(x)
