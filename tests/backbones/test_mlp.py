"""Fully connected bodies: sizes, initial weights, dropout."""

from __future__ import annotations

import math

import pytest
import torch
from hydra.utils import instantiate

from lifelong.backbones import mlp
from tests.backbones.counts import parameters, size
from tests.conftest import configured


def test_mlp() -> None:
    body = mlp((1, 4, 4), [5, 6])
    assert body(torch.randn(3, 1, 4, 4)).shape == (3, 6)
    assert parameters(body) == 16 * 5 + 5 + 5 * 6 + 6


def test_a_uniform_start_is_that_of_pytorch() -> None:
    torch.manual_seed(0)
    body = mlp((1, 8, 8), [200], init="uniform")
    weight = body.layers[0].weight.detach()
    assert float(weight.abs().max()) == pytest.approx(1 / 8, rel=0.01)
    assert float(weight.std()) == pytest.approx(1 / 8 / math.sqrt(3), rel=0.02)
    assert float(body.layers[0].bias.detach().abs().max()) <= 1 / 8


def test_dropout_of_fully_connected_layers() -> None:
    body = mlp((1, 8, 8), [2000], dropout=0.25)
    x = torch.rand(4, 1, 8, 8)
    kept = body.eval()(x)
    dropped = body.train()(x)
    share = float(((dropped == 0) & (kept > 0)).sum() / (kept > 0).sum())
    assert share == pytest.approx(0.25, abs=0.03)
    alive = dropped > 0
    torch.testing.assert_close(dropped[alive], kept[alive] / 0.75)
    with pytest.raises(ValueError, match=r"backbone.dropout=1.0"):
        mlp((1, 8, 8), [5], dropout=1.0)


def test_mlp400() -> None:
    config = configured("data=split_mnist", "backbone=mlp400", "augment=pad")
    body = instantiate(config.backbone, _convert_="all")()
    assert size(*body.parameters()) == 570_400
    assert body(torch.zeros(2, 1, 32, 32)).shape == (2, 400)
