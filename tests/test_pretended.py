"""Every strategy on a device on which a misplaced tensor is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import execute, results_of
from tests.pretended import DEVICE, OPTIONS, Device
from tests.test_contract import FAST, STRATEGIES, VARIANTS, chosen

SAME = ("er", "lasem_hps", "mas", "tickets_td")  # its kernels are the CPU's
SHORT = [*FAST, "tasks=2", "epochs=1"]


@pytest.mark.parametrize(
    "strategy",
    [*STRATEGIES, *(pytest.param(way, marks=pytest.mark.slow) for way in VARIANTS)],
)
def test_nothing_is_misplaced(tmp_path: Path, strategy: str) -> None:
    options = [*SHORT, *chosen(strategy)]
    with Device() as device:
        assert execute(tmp_path / "there", *options, *OPTIONS) == 0
    assert device.counts["launches"] > 100
    if strategy in SAME:
        assert execute(tmp_path / "here", *options) == 0
        here, there = (results_of(tmp_path / where)["accuracy"] for where in ("here", "there"))
        assert here == there


def test_images_may_lie_apart(tmp_path: Path) -> None:
    with Device():
        for where in ("host", "device"):
            folder = tmp_path / where
            assert execute(folder, *SHORT, "strategy=er", f"data.images_on={where}", *OPTIONS) == 0
    one, other = (results_of(tmp_path / where)["accuracy"] for where in ("host", "device"))
    assert one == other


def test_the_device_refuses_tensors_of_the_cpu_and_counts() -> None:
    with Device() as device:
        x, net = torch.ones(2, 3), torch.nn.Linear(3, 1).to(DEVICE)
        device.counts.clear()
        with pytest.raises(RuntimeError, match="tensors of the CPU"):
            net(x)
        there = x.to(DEVICE)
        assert net(there).shape == (2, 1)
        assert (device.counts["launches"], device.counts["copies"]) == (1, 1)
        assert there.sum().item() == 6
        assert there.cpu().tolist() == [[1, 1, 1], [1, 1, 1]]
        assert (device.counts["launches"], device.counts["waits"]) == (2, 2)
