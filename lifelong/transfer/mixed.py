"""Layers that are shared in part: each mixes its two forms (DARTS)."""

from __future__ import annotations

from torch import Tensor

from lifelong.backbones.backbone import flat
from lifelong.networks.divided import spread
from lifelong.transfer.network import TransferNetwork


def mixed_features(network: TransferNetwork, x: Tensor, task: int, selectors: Tensor) -> Tensor:
    """Features (b, f) of layers that mix their forms: softmax(alpha)_l weighs the two outputs.

    The forms of a layer are mixed behind ReLU and before the pool; a skip is added before the ReLU.
    Those of a block are mixed by their outputs.

    Args:
        network: whose `task` holds both forms of every layer.
        x: (b, c, h, w).
        task: index.
        selectors: alpha, (d, 2): private, shared.
    """
    return spread(lambda part: _mixed(network, part, task, selectors), x)


def _mixed(network: TransferNetwork, x: Tensor, task: int, selectors: Tensor) -> Tensor:
    outputs, x = list[Tensor](), network.begin(x)
    for layer, (private, shared) in zip(
        network.transfer_layers(), selectors.softmax(1).unbind(), strict=True
    ):
        skip = None if layer.skip is None else outputs[layer.skip]
        own = layer.unit.bent(layer.map(x, task, False), skip)
        common = layer.unit.bent(layer.map(x, task, True), skip)
        x = layer.unit.pooled(private * own + shared * common)
        outputs.append(x)
    return flat(x)
