"""Configurations composed, beside Hydra's own way: where members lie, what a resolver knows."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from lifelong.configuration.overrides import key_of, quoted

_OTHERS = ("hydra/", "hydra.")  # overrides that compose nothing of a run
_PACKAGE = Path(__file__).resolve().parent.parent
# Beside the package in a checkout, inside it when installed.
FOLDER = next(p for p in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if p.is_dir())


def register() -> None:
    """Makes the resolver known: of values that fidelity decides."""
    OmegaConf.register_new_resolver("by_fidelity", _by_fidelity, replace=True)


def _by_fidelity(clean: Any, authors: Any, *, _root_: DictConfig) -> Any:
    """`${by_fidelity:<clean>,<authors>}`: the value that goes with the top-level `fidelity`."""
    return authors if _root_.fidelity == "authors" else clean


@functools.cache
def main_file() -> DictConfig:
    """The options at the top level, as conf/ has them."""
    found = OmegaConf.load(FOLDER / "config.yaml")
    assert isinstance(found, DictConfig)
    return found


def composed(overrides: Sequence[str], config_dir: str | None = None) -> DictConfig:
    """The configuration of some overrides, its choices filled in.

    Args:
        overrides: of a run.
        config_dir: folder of a person's own members, as `--config-dir` names it.

    Raises:
        HydraException, OmegaConfBaseException: overrides that do not compose.
    """
    register()
    given = [text for text in overrides if not key_of(text).startswith(_OTHERS)]
    if config_dir is not None:
        place = quoted(f"file://{Path(config_dir).absolute()}")
        given.append(f"hydra.searchpath=[{place}]")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        config = compose("config", given, return_hydra_config=True)
    choices = config.hydra.runtime.choices
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    config.choices = {
        group: member for group, member in choices.items() if member and "hydra" not in group
    }
    OmegaConf.set_struct(config, True)
    return config
