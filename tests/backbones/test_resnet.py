"""Residual networks for small images."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate

from lifelong.backbones import ReducedResNet
from lifelong.backbones.resnet import Block
from lifelong.networks import Network, OutputMatrix
from tests.backbones.counts import parameters
from tests.conftest import configured


@pytest.mark.parametrize(
    ("shape", "features", "parameters"), [((3, 32, 32), 160, 496_680), ((3, 84, 84), 640, 544_680)]
)
def test_the_reduced_resnet(shape: tuple[int, ...], features: int, parameters: int) -> None:
    network = Network(partial(ReducedResNet, shape), partial(OutputMatrix, outputs=100))
    network.add_task(0, range(5))
    assert network.body.features == features
    assert network.logits(torch.zeros(2, *shape), 0).shape == (2, 5)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert len(list(network.parameters())) == 48


def test_a_block_by_hand() -> None:
    block = Block(3, 4, 2, 0.0)
    x = torch.randn(5, 3, 6, 6)
    y = F.relu(F.conv2d(x, block.conv.weight, stride=2, padding=1))
    y = (y - y.mean((0, 2, 3), True)) / (y.var((0, 2, 3), False, keepdim=True) + 1e-5).sqrt()
    z = F.relu(y + F.conv2d(x, block.shortcut.weight, stride=2))
    z = (z - z.mean((0, 2, 3), True)) / (z.var((0, 2, 3), False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(block(x), z, rtol=1e-4, atol=1e-5)


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
