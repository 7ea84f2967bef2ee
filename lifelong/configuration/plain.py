"""Configurations as plain dictionaries."""

from __future__ import annotations

from typing import Any, cast

from omegaconf import DictConfig, OmegaConf


def as_dict(config: DictConfig | None, resolve: bool = True) -> dict[str, Any]:
    """A copy of a configuration in dicts and lists; of None an empty one.

    Args:
        config: a mapping.
        resolve: whether what refers to other values is put in their place.
    """
    found = OmegaConf.to_container(config or OmegaConf.create(), resolve=resolve)
    return cast(dict[str, Any], found)
