"""What the methods have in common that choose a configuration for each task."""

from __future__ import annotations

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from tests.conftest import configured, toy_visit
from tests.strategies.searches import darts


def test_darts_rolls_back_as_any_search() -> None:
    made = darts()
    slots = [
        layer.shared_params.weight.detach().clone() for layer in made.network.transfer_layers()
    ]
    made.selectors.data[0, 1] = 1.0
    for layer in made.network.transfer_layers():
        layer.shared_params.weight.data.add_(1.0)
    made.end_task(toy_visit(), [])  # type: ignore[arg-type]
    layers = made.network.transfer_layers()
    assert torch.equal(layers[0].shared_params.weight, slots[0] + 1)
    assert all(
        torch.equal(x.shared_params.weight, s) for x, s in zip(layers[1:], slots[1:], strict=True)
    )
    assert [layer.in_use for layer in layers] == [True, False, False, False]


@pytest.mark.parametrize("strategy", ["lasem_hps", "brute_force_hps", "darts_hps"])
def test_one_configuration_is_no_choice(strategy: str) -> None:
    config = configured(f"strategy={strategy}", "transfer=top2", "backbone=conv4")
    with pytest.raises(InstantiationException, match="nothing to choose"):
        instantiate(config.strategy, _convert_="all")
