"""Every strategy on a device on which a misplaced tensor is an error."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.conftest import execute, results_of
from tests.pretended import DEVICE, OPTIONS, Device
from tests.test_contract import FAST, STRATEGIES, VARIANTS, chosen

SHORT = [*FAST, "tasks=2", "epochs=1"]


@pytest.mark.parametrize("strategy", [*STRATEGIES, *VARIANTS])
def test_nothing_is_misplaced_and_the_numbers_are_those_of_the_cpu(
    tmp_path: Path, strategy: str
) -> None:
    options = [*SHORT, *chosen(strategy)]
    with Device() as device:
        assert execute(tmp_path / "there", *options, *OPTIONS) == 0
    assert device.counts["launches"] > 100
    assert execute(tmp_path / "here", *options) == 0
    assert results_of(tmp_path / "here")["accuracy"] == results_of(tmp_path / "there")["accuracy"]


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
