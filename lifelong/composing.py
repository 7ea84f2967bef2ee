"""Compositions beside Hydra's own: to look at a run before it begins, to find what was meant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from lifelong import configuration
from lifelong.sweep import key_of, quoted

_OTHERS = ("hydra/", "hydra.")  # overrides that compose nothing of a run


def composed(overrides: Sequence[str], config_dir: str | None = None) -> DictConfig:
    """The configuration of some overrides, its choices filled in.

    Args:
        overrides: of a run.
        config_dir: folder of a person's own members, as `--config-dir` names it.

    Raises:
        HydraException, OmegaConfBaseException: overrides that do not compose.
    """
    configuration.register()
    given = [text for text in overrides if not key_of(text).startswith(_OTHERS)]
    if config_dir is not None:
        place = quoted(f"file://{Path(config_dir).absolute()}")
        given.append(f"hydra.searchpath=[{place}]")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(configuration.FOLDER), version_base="1.3"):
        config = compose("config", given, return_hydra_config=True)
    choices = config.hydra.runtime.choices
    OmegaConf.set_struct(config, False)
    del config["hydra"]
    config.choices = {
        group: member for group, member in choices.items() if member and "hydra" not in group
    }
    OmegaConf.set_struct(config, True)
    return config
