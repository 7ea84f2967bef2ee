"""The two forms of every layer, mixed by selectors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from lifelong.backbones.backbone import flat
from lifelong.transfer import explicit
from lifelong.transfer.mixed import mixed_features
from tests.conftest import KINDS
from tests.strategies.searches import darts

kinds = pytest.mark.parametrize("kind", list(KINDS))


@kinds
def test_equal_selectors_average_the_forms(kind: str) -> None:
    network, x = darts(kind).network, torch.randn(3, 2, 6, 6)
    h = x
    for layer in network.transfer_layers():
        forms = [F.relu(layer.map(h, 0, shared)) for shared in (False, True)]
        h = layer.template.pooled((forms[0] + forms[1]) / 2)
    found = mixed_features(network, x, 0, torch.zeros(4, 2))
    torch.testing.assert_close(found, flat(h))


@kinds
@pytest.mark.parametrize("config", ["1111", "0000", "0110"])
def test_certain_selectors_are_one_configuration(kind: str, config: str) -> None:
    network, x = darts(kind).network, torch.randn(3, 2, 6, 6)
    alpha = torch.tensor([[-100.0, 100.0] if bit == "1" else [100.0, -100.0] for bit in config])
    torch.testing.assert_close(
        mixed_features(network, x, 0, alpha), network.features(x, 0, explicit(4, config)[0])
    )
