"""Configurations of runs of an earlier version, read with the names that options have now."""

from __future__ import annotations

from typing import Any

OURS = "lifelong."  # how the classes begin whose options these are
NETWORKS = ("backbone", "body", "heads")  # whose weights' `initial` is `init`
_IMPORTANCE = ("samples", "estimator", "batch_size")
# Old options of a method, by its class, and where they stand now.
METHODS: dict[str, dict[str, str]] = {
    "CIL": {"most": "max_unlabeled"},
    "TicketsTD": {"most": "max_unlabeled"},
    "TicketsBU": {"most": "max_unlabeled", "share": "prune_fraction"},
    "LASEM": {"prune_below": "narrowing.below"},
    "EWC": {key: f"importance.{key}" for key in (*_IMPORTANCE, "labels")},
    "MAS": {  # the value in whose place the object stands comes first
        "importance": "importance.scope",
        "importance_data": "importance.images",
        **{key: f"importance.{key}" for key in (*_IMPORTANCE, "objective")},
    },
}
MADE = {  # the class of the object in which some of them stand now
    "LASEM": "lifelong.transfer.Narrowing",
    "EWC": "lifelong.parts.fisher.Fisher",
    "MAS": "lifelong.parts.sensitivity.Sensitivity",
}

TARGETS = (  # what `conf/` named in 0.2.0, and runs of then still name
    "lifelong.data.sequence",
    "lifelong.data.sources.fashion_mnist",
    "lifelong.data.sources.notmnist",
    "lifelong.data.sources.svhn",
)


def brought_up(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration, changed in place, with today's names; those of others' classes stay."""
    for name, part in config.items():
        _networks(part, name)
    strategy = config.get("strategy")
    if isinstance(strategy, dict) and str(strategy.get("_target_")).startswith(OURS):
        _methods(strategy, strategy["_target_"].rpartition(".")[2])
    return config


def _networks(node: Any, name: str) -> None:
    if isinstance(node, dict):
        if name in NETWORKS and str(node.get("_target_")).startswith(OURS) and "initial" in node:
            node.setdefault("init", node.pop("initial"))
        for key, part in node.items():
            _networks(part, key)


def _methods(strategy: dict[str, Any], method: str) -> None:
    for old, new in METHODS.get(method, {}).items():
        holder, _, name = new.rpartition(".")
        if old not in strategy or (old == holder and isinstance(strategy[old], dict | None)):
            continue  # the object itself has the name of an old option
        value = strategy.pop(old)
        into = strategy
        if holder:
            into = strategy.setdefault(holder, {})
            into.setdefault("_target_", MADE[method])
        into.setdefault(name, value)
