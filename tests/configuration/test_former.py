"""Runs of an earlier version, read with the names of this one."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from lifelong.configuration.former import brought_up
from lifelong.configuration.members import members
from lifelong.configuration.plain import as_dict
from tests.conftest import configured

SEARCH = {"_target_": "lifelong.strategies.LASEM"}
BOTTOM_UP = {"_target_": "lifelong.strategies.TicketsBU"}
MAS = {"_target_": "lifelong.strategies.MAS"}


@pytest.mark.parametrize(
    ("strategy", "now"),
    [
        (
            SEARCH | {"prune_below": 0.1},
            SEARCH | {"narrowing": {"_target_": "lifelong.transfer.Narrowing", "below": 0.1}},
        ),
        (
            MAS | {"importance": "local", "importance_data": "val", "samples": None},
            MAS | {
                "importance": {
                    "_target_": "lifelong.parts.sensitivity.Sensitivity",
                    "scope": "local", "images": "val", "samples": None,
                }
            },
        ),
        (MAS | {"importance": {"scope": "local"}}, MAS | {"importance": {"scope": "local"}}),
        (
            {"_target_": "lifelong.strategies.CIL", "most": 3, "samples": 4},
            {"_target_": "lifelong.strategies.CIL", "max_unlabeled": 3, "samples": 4},
        ),
        (
            BOTTOM_UP | {"share": 0.2, "most": 3},
            BOTTOM_UP | {"prune_fraction": 0.2, "max_unlabeled": 3},
        ),
        (  # whose option it is
            {"_target_": "lifelong.strategies.WSN", "share": 0.5},
            {"_target_": "lifelong.strategies.WSN", "share": 0.5},
        ),
        ({"_target_": "a.LASEM", "prune_below": 1}, {"_target_": "a.LASEM", "prune_below": 1}),
    ],
)  # fmt: skip
def test_options_of_methods(strategy: dict[str, Any], now: dict[str, Any]) -> None:
    assert brought_up({"strategy": dict(strategy)}) == {"strategy": now}
    assert brought_up({"strategy": dict(now)}) == {"strategy": now}


def test_options_of_networks_wherever_they_stand() -> None:
    """An optimizer's `initial` is its own, and so is that of another's class."""
    ours, theirs = {"_target_": "lifelong.networks.MultiHead"}, {"_target_": "mine.Heads"}
    rule = {"_target_": "lifelong.optim.TensorFlowRMSProp", "initial": 1.0}
    config = {
        "heads": ours | {"initial": "uniform"}, "backbone": theirs | {"initial": "uniform"},
        "strategy": {"network": {"heads": ours | {"initial": "uniform"}}, "optimizer": rule},
    }  # fmt: skip
    assert brought_up(config) == {
        "heads": ours | {"init": "uniform"}, "backbone": theirs | {"initial": "uniform"},
        "strategy": {"network": {"heads": ours | {"init": "uniform"}}, "optimizer": rule},
    }  # fmt: skip


@pytest.mark.parametrize("name", sorted(members("strategy")))
def test_no_configuration_of_today_is_changed(name: str) -> None:
    needed = ["strategy.run=a", "strategy.visit=1"] if name == "retrain" else []
    config = as_dict(configured(f"strategy={name}", "data=digits", *needed))
    assert brought_up(copy.deepcopy(config)) == config
