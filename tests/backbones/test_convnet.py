"""Shapes, pooling, initialisation and sizes of convolutional bodies (LASEM spec, checks 13, 14)."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate

from lifelong.backbones import Backbone, ConvLayer, convnet, resnet17
from lifelong.backbones.convnet import max_pool_same
from lifelong.networks import Network
from tests.backbones.counts import parameters, size
from tests.conftest import configured

OFFICE = {
    "shape": (3, 128, 128), "channels": [64, 256, 256, 256], "pools": [3, 3, 2, 2],
    "kernels": [11, 5, 3, 3],
}  # fmt: skip
STL = {"shape": (3, 96, 96), "channels": [32, 32, 64, 64, 128, 128], "pools": [1, 3, 1, 3, 1, 3]}


def sizes(body: Backbone, x: torch.Tensor) -> list[int]:
    """Height after each layer."""
    found = []
    outputs: list[torch.Tensor] = []
    for layer in body.layers:
        x = layer(x, None if layer.skip is None else outputs[layer.skip])
        outputs.append(x)
        found.append(x.shape[-1])
    return found


def body_of(name: str) -> tuple[Backbone, Network]:
    """The body of a configuration on CIFAR-100's shape, and a network with ten classes."""
    config = configured("data=cifar100", "strategy=hps", f"backbone={name}")
    backbone = instantiate(config.backbone, _convert_="all")
    network = Network(backbone, instantiate(config.heads, _convert_="all"))
    network.add_task(0, range(10))
    return network.body, network


@pytest.mark.parametrize(
    ("name", "chain", "features", "conv", "head"),
    [
        ("conv4", [32, 16, 16, 8], 4096, 65_568, 262_858),
        ("conv6", [32, 16, 16, 8, 8, 4], 2048, None, None),
        ("conv8", [32, 16, 16, 8, 8, 4, 4, 2], 512, None, None),
        (
            "resnet17",
            [16] * 5 + [8] * 4 + [4] * 4 + [2] * 4,
            2048, 10_998_784, 2_059_010,
        ),
    ],
)  # fmt: skip
def test_bodies_on_cifar(
    name: str, chain: list[int], features: int, conv: int | None, head: int | None
) -> None:
    body, network = body_of(name)
    with torch.no_grad():
        assert sizes(body, torch.zeros(1, 3, 32, 32)) == chain
    assert body.features == features
    if conv is not None:
        assert parameters(body) == conv
        assert parameters(network.heads) == head


def test_other_bodies_of_the_paper() -> None:
    office, stl = convnet(**OFFICE), convnet(**STL)
    with torch.no_grad():
        assert sizes(office, torch.zeros(1, 3, 128, 128)) == [43, 15, 8, 4]
        assert sizes(stl, torch.zeros(1, 3, 96, 96)) == [96, 32, 32, 11, 11, 4]
    assert (office.features, parameters(office)) == (4096, 1_613_312)
    assert (stl.features, parameters(stl)) == (2048, 287_008)


def test_skips_of_the_resnet_body() -> None:
    skips = {number: layer.skip for number, layer in enumerate(resnet17((3, 32, 32)).layers)}
    assert {number + 1: skip + 1 for number, skip in skips.items() if skip is not None} == {
        3: 1, 5: 3, 9: 7, 13: 11, 17: 15,
    }  # fmt: skip


@pytest.mark.parametrize(("size", "pool"), [(43, 3), (32, 2), (11, 2), (32, 3), (96, 3), (10, 4)])
def test_pooling_equals_hand_padding(size: int, pool: int) -> None:
    x = torch.randn(2, 3, size, size)
    rows = math.ceil(size / pool)
    total = rows * pool - size
    padded = torch.full((2, 3, rows * pool, rows * pool), -math.inf)
    before = total // 2
    padded[:, :, before : before + size, before : before + size] = x
    expected = padded.view(2, 3, rows, pool, rows, pool).amax((3, 5))
    assert torch.equal(max_pool_same(x, pool), expected)


def test_the_first_window_covers_rows_before_the_image() -> None:
    """43 -> 15: two rows of padding, one on either side."""
    x = torch.zeros(1, 1, 43, 43)
    x[0, 0, 2, 2] = 1  # in the second window, were there no padding before
    assert max_pool_same(x, 3)[0, 0, 0, 0] == 0
    assert max_pool_same(x, 3)[0, 0, 1, 1] == 1


def test_order_of_relu_skip_and_pool() -> None:
    layer, x = ConvLayer(2, 2, pool=2, skip=0), torch.randn(3, 2, 4, 4)
    skip = torch.randn(3, 2, 4, 4)
    z = F.conv2d(x, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x, skip), F.max_pool2d(F.relu(z) + skip, 2))
    layer.skip = None
    torch.testing.assert_close(layer(x), F.max_pool2d(F.relu(z), 2))


def test_initial_weights() -> None:
    layer = ConvLayer(64, 64)
    assert (layer.bias == 0.2).all()
    assert layer.weight.abs().max() <= 0.1
    cut_at_two = 0.8796  # deviation of a normal variable cut there, in deviations
    assert float(layer.weight.detach().std()) == pytest.approx(0.05 * cut_at_two, rel=0.02)
    twin = layer.reinitialized()
    assert twin.weight.shape == layer.weight.shape
    assert not torch.equal(twin.weight, layer.weight)


def test_weights_do_not_depend_on_the_memory_layout() -> None:
    torch.manual_seed(1)
    first = ConvLayer(3, 4)
    torch.manual_seed(1)
    assert torch.equal(first.reinitialized().weight, first.weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pools": [1]}, r"backbone\.pools=\[1\]: 1 entries for the 2 layers"),
        ({"kernels": [3]}, r"backbone\.kernels"),
        ({"kernels": [3, 4]}, "4 is even"),
    ],
)
def test_refusals(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        convnet(**({"shape": (1, 8, 8), "channels": [2, 2], "pools": [1, 2]} | options))


@pytest.mark.parametrize(
    ("name", "convolutions", "linear"),
    [
        ("vgg9_small", 334_016, [(128, 2048), (128, 128)]),
        ("vgg9_base", 1_145_408, [(512, 4096), (512, 512)]),
        ("vgg9_wide", 4_500_864, [(512, 8192), (512, 512)]),
        ("vgg22_deep", 4_280_704, [(512, 4096), (512, 512)]),
    ],
)
def test_vgg(name: str, convolutions: int, linear: list[tuple[int, int]]) -> None:
    config = configured("data=tiny_imagenet_10", f"backbone={name}", "augment=none")
    body = instantiate(config.backbone, _convert_="all")()
    found = [layer for layer in body.layers if layer.weight.dim() == 4]
    assert size(*(p for layer in found for p in layer.parameters())) == convolutions
    assert [tuple(layer.weight.shape) for layer in body.layers if layer not in found] == linear
    assert body(torch.zeros(2, 3, 64, 64)).shape == (2, linear[-1][0]) == (2, body.features)
    assert all(not layer.bias.any() for layer in body.layers)


def test_linear_layers_on_convolutions_and_dropout() -> None:
    body = convnet((2, 6, 6), [3, 4], [1, 2], widths=[5, 6], dropout=0.5, init="uniform")
    x = torch.randn(4, 2, 6, 6)
    assert body.features == 6
    assert not torch.equal(body(x), body(x))
    body.eval()
    assert torch.equal(body(x), body(x))
