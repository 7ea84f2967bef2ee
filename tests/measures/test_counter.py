"""Multiply-adds of each kind of layer, by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lifelong.measures.counter import counted

IMAGE = (1, 8, 8, 8)
LAYERS: list[tuple[nn.Module, tuple[int, ...], int]] = [
    (nn.Linear(8, 5), (3, 8), 3 * 8 * 5),
    (nn.Conv2d(8, 16, 3, padding=1), IMAGE, 64 * 16 * 8 * 9),
    (nn.Conv2d(8, 16, 3, padding=1, groups=4), IMAGE, 64 * 16 * 2 * 9),
    (nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=8), IMAGE, 64 * 8 * 9),
    (nn.Conv1d(8, 16, 3, stride=2, padding=1), (2, 8, 10), 2 * 5 * 16 * 8 * 3),
    (nn.ConvTranspose2d(8, 6, 4, 2, 1), IMAGE, 64 * 8 * 6 * 16),
    (nn.ConvTranspose2d(8, 8, 4, 2, 1, groups=8), IMAGE, 64 * 8 * 16),
]
STEP = 8 * 16 + 16 * 16  # of a gate of a recurrent layer


@pytest.mark.parametrize(("layer", "shape", "forward"), LAYERS)
def test_a_layer(layer: nn.Module, shape: tuple[int, ...], forward: int) -> None:
    """As much again for the gradient in the weights, and for that in the images where it is
    wanted."""
    x = torch.randn(shape)
    assert _count(lambda: layer(x)) == forward
    assert _count(lambda: layer(x).sum().backward()) == 2 * forward
    x.requires_grad_()
    assert _count(lambda: layer(x).sum().backward()) == 3 * forward


@pytest.mark.parametrize(("layer", "gates"), [(nn.RNN, 1), (nn.GRU, 3), (nn.LSTM, 4)])
def test_recurrent_layers(layer: Callable[..., nn.Module], gates: int) -> None:
    x, made = torch.randn(2, 5, 8), layer(8, 16, batch_first=True)
    assert _count(lambda: made(x)) == 2 * 5 * gates * STEP
    with torch.no_grad():
        assert _count(lambda: made.eval()(x)) == 2 * 5 * gates * STEP


@pytest.mark.parametrize("trains", [False, True])
def test_attention(trains: bool) -> None:
    x, made = torch.randn(2, 5, 8), nn.MultiheadAttention(8, 2, batch_first=True).train(trains)
    attention = 2 * (4 * 5 * 8 * 8 + 2 * 5 * 5 * 8)
    block = nn.TransformerEncoderLayer(8, 2, 12, 0.0, batch_first=True).train(trains)
    with torch.set_grad_enabled(trains):
        assert _count(lambda: made(x, x, x)) == attention
        assert _count(lambda: made(x, x, x, need_weights=False)) == attention
        assert _count(lambda: block(x)) == attention + 2 * 2 * 5 * 8 * 12


def test_bilinear() -> None:
    layer = nn.Bilinear(4, 4, 3)
    assert _count(lambda: layer(torch.randn(5, 4), torch.randn(5, 4))) == 5 * 3 * 4 * 4


def test_products_with_one_vector() -> None:
    matrix, vector = torch.randn(3, 7), torch.randn(7)
    assert _count(lambda: matrix @ vector) == 21
    assert _count(lambda: vector @ vector) == 7
    assert _count(lambda: torch.addmv(torch.zeros(3), matrix, vector)) == 21


def test_nothing_is_left_switched_off() -> None:
    before = [torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled]
    with pytest.raises(KeyError), counted():
        raise KeyError
    assert [torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled] == before
    assert torch.backends.mha.get_fastpath_enabled()


def _count(call: Callable[[], Tensor | Any]) -> int:
    with counted() as counter:
        call()
    return counter.get_total_flops() // 2
