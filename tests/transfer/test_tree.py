"""The candidates as a tree against separate passes (LASEM spec, check 3)."""

from __future__ import annotations

from functools import partial
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.backbones import convnet, resnet17
from lifelong.transfer import TransferNetwork, every, explicit, index_of
from tests.conftest import KINDS, small_body, transfer_network


def separate(network: TransferNetwork, x: Tensor, task: int = 0) -> Tensor:
    """Features of every candidate by a forward pass of its own, (c b, f)."""
    return torch.cat([network.features(x, task, config) for config in network.candidates])


kinds = pytest.mark.parametrize("kind", list(KINDS))


@kinds
@pytest.mark.parametrize("depth", [2, 4, 6])
def test_tree_equals_separate_passes(depth: int, kind: str) -> None:
    network = transfer_network(every, small_body(depth=depth), kind=kind)
    network.add_task(0, range(3))
    x = torch.randn(5, 2, 6, 6)
    torch.testing.assert_close(network.tree_features(x, 0), separate(network, x), rtol=0, atol=1e-5)


@kinds
@pytest.mark.parametrize("sizes", [[2, 2, 1], [1, 3, 1], [1, 1, 1, 1, 1]])
def test_tree_equals_separate_passes_with_groups_and_skips(sizes: list[int], kind: str) -> None:
    skips = [None, None, 0, None, 2]  # they cross group boundaries
    body = partial(convnet, (2, 6, 6), [4, 4, 4, 4, 4], [2, 1, 1, 1, 1], skips=skips)
    network = transfer_network(partial(every, groups=sizes), body, kind=kind)
    network.add_task(0, range(3))
    x = torch.randn(3, 2, 6, 6)
    torch.testing.assert_close(network.tree_features(x, 0), separate(network, x), rtol=0, atol=1e-5)


def test_tree_of_the_resnet_body() -> None:
    network = transfer_network(partial(every, groups="4g"), partial(resnet17, (3, 16, 16)))
    network.add_task(0, range(3))
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(
            network.tree_features(x, 0), separate(network, x), rtol=1e-5, atol=1e-5
        )


def test_tree_of_some_configurations_only() -> None:
    some = [explicit(4, text)[0] for text in ("0011", "1111", "1010")]
    network = transfer_network(lambda depth: some)
    network.add_task(0, range(3))
    x = torch.randn(3, 2, 6, 6)
    torch.testing.assert_close(network.tree_features(x, 0), separate(network, x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("groups", [None, [2, 2]])
def test_two_convolutions_a_layer(groups: list[int] | None) -> None:
    network = transfer_network(partial(every, groups=groups))
    network.add_task(0, range(3))
    with patch.object(F, "conv2d", wraps=F.conv2d) as convolution:
        network.tree_features(torch.randn(2, 2, 6, 6), 0)
    assert convolution.call_count == 2 * 4


def test_blocks_are_in_the_order_of_the_index() -> None:
    network = transfer_network(every)
    network.add_task(0, range(3))
    x = torch.randn(2, 2, 6, 6)
    blocks = network.tree_features(x, 0).split(2)
    for config in network.candidates:
        expected = network.features(x, 0, config)
        torch.testing.assert_close(blocks[index_of(config)], expected, rtol=0, atol=1e-5)
