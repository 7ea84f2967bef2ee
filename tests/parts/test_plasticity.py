"""Dormant units and effective rank by hand; in results and reports."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lifelong import by_class, convnet, mlp
from lifelong.data.sources import digits
from lifelong.parts.plasticity import dormant, effective_rank, plasticity
from tests.conftest import execute, results_of


def images() -> torch.Tensor:
    return by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits").tasks[0].test


def test_effective_rank_by_numpy() -> None:
    rows = np.random.default_rng(0).normal(size=(30, 7)) * np.array([5, 3, 1, 1, 0.1, 0.1, 0])
    values = np.linalg.svd(rows, compute_uv=False)
    shares = values[values > 0] / values.sum()
    wanted = np.exp(-(shares * np.log(shares)).sum())
    assert effective_rank(torch.tensor(rows)) == pytest.approx(wanted, rel=1e-12)
    assert effective_rank(torch.zeros(4, 3)) == 1.0


def test_a_unit_is_dormant_up_to_a_fortieth_of_the_mean() -> None:
    sizes = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0249, 0.0])
    assert float(sizes[4]) > 0.025 * float(sizes.mean())
    assert dormant(sizes) == pytest.approx(1 / 6)
    assert dormant(torch.zeros(5)) == 1.0


@pytest.mark.parametrize("make", [
    partial(mlp, (1, 8, 8), [20, 12]), partial(convnet, (1, 8, 8), [5, 6], [2, 2]),
])  # fmt: skip
def test_units_that_are_switched_off_are_found(make: partial[nn.Module]) -> None:
    torch.manual_seed(0)
    body = make()
    before = plasticity(body, images())
    layer = body.layers[0]
    with torch.no_grad():
        layer.weight[:3], layer.bias[:3] = 0.0, -1.0
    after = plasticity(body, images())
    assert after["dormant"][0] >= 3 / len(layer.bias)
    assert before["dormant"][0] < after["dormant"][0]
    assert body.training
    assert 1 <= after["effective_rank"] <= after["features"]


def test_modules_that_bend_are_found_in_a_body_of_ones_own() -> None:
    body = nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.GELU(), nn.Linear(9, 4), nn.ReLU())
    assert len(plasticity(body, images())["dormant"]) == 2


@pytest.mark.parametrize(("name", "width"), [("convnext_tiny", 384), ("swin_v2_t", 384)])
def test_units_of_channels_last_networks_are_channels(name: str, width: int) -> None:
    from lifelong.backbones import Torchvision
    from lifelong.parts.plasticity import _watched

    body = Torchvision((3, 64, 64), name).eval()
    with torch.no_grad(), _watched(body, 2) as sizes:
        body(torch.zeros(2, 3, 64, 64))
    assert len(sizes[0]) == width
    assert all(len(size) >= 96 for size in sizes)


QUICK = ["data=digits", "data.fraction=0.3", "tasks=3", "epochs=2", "logger=none", "trainer=cpu"]


@pytest.mark.page
def test_in_results_and_report(tmp_path: Path) -> None:
    options = [*QUICK, "strategy=cbp", "plasticity=true", "strategy.maturity=2"]
    assert execute(tmp_path, *options) == 0
    found = results_of(tmp_path)["plasticity"]
    assert [entry["visit"] for entry in found] == [1, 2, 3]
    assert (tmp_path / "figures" / "plasticity.png").exists()
    assert "units of each layer" in (tmp_path / "report.html").read_text()


def test_networks_without_one_body_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(tmp_path, *QUICK, "strategy=lasem_hps", "plasticity=true") == 2
    assert execute(tmp_path, *QUICK, "strategy=hat", "plasticity=true") == 2
    assert "plasticity=true: LASEM has no one body that answers" in capsys.readouterr().err
