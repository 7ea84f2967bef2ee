"""The layer and the stack of layers that every body is made of."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from lifelong.backbones import ReducedResNet
from lifelong.backbones.backbone import initialize
from lifelong.networks import MultiHead
from lifelong.transfer import TensorFactoredTransferLayer, TransferNetwork, top


def test_bodies_without_layers_are_refused_where_weights_of_layers_are_shared() -> None:
    body = partial(ReducedResNet, (3, 32, 32))
    with pytest.raises(ValueError, match=r"layer 1 is no convolution.*; give kind=hps"):
        TransferNetwork(body, MultiHead, TensorFactoredTransferLayer, top)
    with pytest.raises(ValueError, match="ReducedResNet is no stack of layers"):
        body().layers  # noqa: B018
    with pytest.raises(ValueError, match="images are too small"):
        ReducedResNet((1, 8, 8))


def test_initial_weights() -> None:
    weight, bias = torch.empty(64, 32, 3, 3), torch.empty(64)
    initialize(weight, bias, "kaiming")
    assert abs(weight.std() - (2 / (64 * 9)) ** 0.5) < 2e-3
    assert not bias.any()
    matrix = torch.empty(200, 300)
    initialize(matrix, bias, "kaiming")
    assert abs(matrix.std() - 0.01) < 2e-4
    initialize(weight, bias, "uniform")
    bound = (32 * 9) ** -0.5
    assert bound * 0.99 < weight.abs().max() <= bound
    assert 0 < bias.abs().max() <= bound
    initialize(weight, bias, "truncated_normal")
    assert weight.abs().max() <= 0.1
    assert (bias == 0.2).all()
    with pytest.raises(ValueError, match="init=zero: give truncated_normal or uniform"):
        initialize(weight, bias, "zero")  # type: ignore[arg-type]
