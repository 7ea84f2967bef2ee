"""Shapes, pooling, initialisation and sizes of the bodies (LASEM spec, checks 13 and 14)."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate

from lifelong.backbones import Backbone, ConvLayer, ResNet18, convnet, mlp, resnet17
from lifelong.backbones.convnet import max_pool_same
from lifelong.networks import Network
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


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


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


def test_mlp() -> None:
    body = mlp((1, 4, 4), [5, 6])
    assert body(torch.randn(3, 1, 4, 4)).shape == (3, 6)
    assert parameters(body) == 16 * 5 + 5 + 5 * 6 + 6


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
    ("data", "backbone", "tensors", "count"),
    [  # TAG spec, section 2
        ("split_cifar100", "reduced_resnet", 48, 496_680),
        ("split_mini_imagenet", "reduced_resnet", 48, 544_680),
        ("split_cub", "resnet18 backbone.weights=none", 62, 11_279_112),
        ("rotated_mnist", "mlp256", 6, 292_452),
    ],
)
def test_networks_of_the_tag_paper(data: str, backbone: str, tensors: int, count: int) -> None:
    chosen, *more = backbone.split()
    config = configured(f"data={data}", "strategy=finetune", *more)
    assert config.backbone == configured(f"data={data}", f"backbone={chosen}", *more).backbone
    network = instantiate(config.strategy, _convert_="all").network
    assert len(list(network.parameters())) == tensors
    assert parameters(network) == count
    network.add_task(0, range(5))
    x = torch.randn(2, *config.data.shape)
    assert network.eval()(x, torch.zeros(2, dtype=torch.long)).shape == (2, 5)


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


def test_weights_from_a_file(tmp_path: Path) -> None:
    make = partial(ResNet18, (3, 32, 32))
    one = make(weights="none")
    with_output = {**one.body.state_dict(), "fc.weight": torch.ones(10, 512), "fc.bias": None}
    torch.save(with_output, tmp_path / "weights.pth")
    other = make(weights=str(tmp_path / "weights.pth"))
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(one.eval()(x), other.eval()(x))
    assert one.features == one(x).shape[1] == 512


def test_weights_that_cannot_be_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import ResNet18_Weights

    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", offline)
    (tmp_path / "broken.pth").write_bytes(b"no weights")
    torch.save({"layer": torch.ones(1)}, tmp_path / "other.pth")
    for weights, message in (
        ("imagenet", r"backbone.weights=imagenet: .*no route to host.* or none for new weights"),
        (f"{tmp_path}/missing.pth", "missing.pth: not a readable file of a state dict"),
        (f"{tmp_path}/broken.pth", "broken.pth: not a readable file of a state dict"),
        (f"{tmp_path}/other.pth", "other.pth: does not fit"),
    ):
        with pytest.raises(ValueError, match=message):
            ResNet18((3, 32, 32), weights)
    with pytest.raises(ValueError, match=r"data.shape=.1, 32, 32.: this backbone needs three"):
        ResNet18((1, 32, 32), "none")
