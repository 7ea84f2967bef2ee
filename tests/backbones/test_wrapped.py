"""Modules of one's own as bodies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lifelong.backbones import Module, Wrapped
from tests.conftest import execute, results_of


class Own(nn.Module):
    """A map of all pixels, of a width that a person gives."""

    def __init__(self, shape: Sequence[int], width: int = 16) -> None:
        super().__init__()
        self.map = nn.Linear(shape[0] * shape[1] * shape[2], width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.map(x.flatten(1)))


def test_what_it_gives_is_made_flat() -> None:
    inner = nn.Conv2d(1, 2, 3)
    body = Wrapped(inner, (1, 6, 5))
    x = torch.randn(3, 1, 6, 5)
    assert torch.equal(body(x), inner(x).reshape(3, -1))
    assert body.features == 2 * 4 * 3
    assert body.training
    with pytest.raises(ValueError, match=r"backbone: Conv2d does not take images \[3, 6, 5\]"):
        Wrapped(inner, (3, 6, 5))
    with pytest.raises(ValueError, match=r"backbone\.module: gives a int and no module"):
        Module((1, 6, 5), lambda: 3)  # type: ignore[arg-type,return-value]


def test_a_module_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["strategy=mas", "data=digits", "backbone=module", "heads=multi", "tasks=2"]
    own = ["backbone.module._target_=tests.backbones.test_wrapped.Own", "+backbone.module.width=24"]
    more = ["epochs=4", "optimizer=adam", "lr=0.01", "logger=none"]
    assert execute(tmp_path / "a", *options, *own, *more) == 0, capsys.readouterr().err
    results: dict[str, Any] = results_of(tmp_path / "a")
    assert results["accuracy"][0][0] > 0.9
    assert results["parameters"] == 64 * 24 + 24 + 2 * (24 * 2 + 2)
    for wrong, message in (
        ([], "backbone.module._target_ is not given"),
        ([own[0], "+backbone.module.widht=24"], "backbone.module.widht: "),
    ):
        assert execute(tmp_path / "b", *options, *wrong, *more) == 2
        assert message in capsys.readouterr().err
