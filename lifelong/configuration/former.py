"""Configurations of runs of an earlier version, read with the names that options have now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OURS = "lifelong."  # how the classes begin whose options these are
NETWORKS = ("backbone", "body", "heads")  # whose weights' `initial` is `init`
METHODS = {
    "CIL": {"most": "max_unlabeled"},
    "TicketsTD": {"most": "max_unlabeled"},
    "TicketsBU": {"most": "max_unlabeled", "share": "prune_fraction"},
}
# What were options of a method and make an object of its own: its key and class, and its options.
OBJECTS: dict[str, tuple[str, str, dict[str, str]]] = {
    "LASEM": ("narrowing", "lifelong.transfer.Narrowing", {"prune_below": "below"}),
    "EWC": (
        *("importance", "lifelong.parts.fisher.Fisher"),
        {key: key for key in ("samples", "estimator", "labels", "batch_size")},
    ),
    "MAS": (
        *("importance", "lifelong.parts.sensitivity.Sensitivity"),
        {
            **{key: key for key in ("samples", "estimator", "objective", "batch_size")},
            "importance_data": "images",
            "importance": "scope",
        },
    ),
}


def brought_up(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration, changed in place, with today's names; those of others' classes stay."""
    for name, part in config.items():
        _networks(part, name)
    strategy = config.get("strategy")
    if isinstance(strategy, dict) and str(strategy.get("_target_")).startswith(OURS):
        method = strategy["_target_"].rpartition(".")[2]
        _rename(strategy, METHODS.get(method, {}))
        _objects(strategy, method)
    return config


def _networks(node: Any, name: str) -> None:
    if isinstance(node, dict):
        if name in NETWORKS and str(node.get("_target_")).startswith(OURS):
            _rename(node, {"initial": "init"})
        for key, part in node.items():
            _networks(part, key)


def _rename(node: dict[str, Any], names: Mapping[str, str]) -> None:
    for old in names.keys() & node.keys():
        node.setdefault(names[old], node.pop(old))


def _objects(strategy: dict[str, Any], method: str) -> None:
    """Gathers options of a method in the object that has them now."""
    key, target, names = OBJECTS.get(method, ("", "", {}))
    if isinstance(strategy.get(key), dict) or not names.keys() & strategy.keys():
        return
    found = {names[old]: strategy.pop(old) for old in list(strategy) if old in names}
    strategy[key] = {"_target_": target, **found}
