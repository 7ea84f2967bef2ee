"""Files of state dicts that other programs wrote."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils import prune

from lifelong.parts.state_files import joined, parted, read_state


class Touch:
    """Unpickled it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    state = {"state_dict": {"conv1.weight": torch.ones(2, 3, 3, 3)}, "x": Touch(tmp_path / "ran")}
    torch.save(state, tmp_path / "evil.pt")
    with suppress(ValueError):  # it is refused, or passed over
        assert list(read_state(tmp_path / "evil.pt")) == ["conv1.weight"]
    assert not (tmp_path / "ran").exists()


def test_masks_of_pruned_weights_are_parted_and_joined() -> None:
    """As torch.nn.utils.prune writes them: `_orig` and `_mask` of each weight."""
    layer = nn.Linear(3, 2)
    whole = layer.weight.detach().clone()
    kept = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    prune.custom_from_mask(layer, "weight", kept)
    weights, masks = parted(layer.state_dict())
    assert weights.keys() == {"weight", "bias"}
    assert torch.equal(weights["weight"], whole)
    assert {name: value.tolist() for name, value in masks.items()} == {"weight": kept.tolist()}
    again = joined(weights, masks)
    assert again.keys() == layer.state_dict().keys()
    assert all(torch.equal(again[name], value) for name, value in layer.state_dict().items())
