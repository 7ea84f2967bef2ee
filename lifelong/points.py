"""Compositions beside Hydra's own: of the points of a sweep, before the first of them is run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lifelong import configuration, frame
from lifelong.sweep import key_of

OTHERS = ("hydra/", "hydra.")  # overrides that compose nothing of a run


def composed(overrides: Sequence[str], config_dir: str | None = None) -> DictConfig:
    """The configuration of some overrides, its choices filled in.

    Args:
        overrides: of a run.
        config_dir: folder of a person's own members, as `--config-dir` names it.

    Raises:
        HydraException, OmegaConfBaseException: overrides that do not compose.
    """
    configuration.register()
    given = [text for text in overrides if not key_of(text).startswith(OTHERS)]
    if config_dir is not None:
        given.append(f"hydra.searchpath=['file://{Path(config_dir).absolute()}']")
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


def check(points: Sequence[Sequence[str]], config_dir: str | None = None) -> None:
    """Looks at the configurations of a sweep's runs: members, options, types, values.

    Args:
        points: the overrides of each run.
        config_dir: see `composed`.

    Raises:
        ValueError: which run is refused, and why.
    """
    for overrides in points:
        try:
            config = composed(overrides, config_dir)
            keys = [key_of(text) for text in overrides if not key_of(text).startswith(OTHERS)]
            configuration.check_kinds(config, keys)
            configuration.check_read(config, keys)
            configuration.check_added(
                config, [key_of(text) for text in overrides if text.startswith("+")]
            )
            configuration.complete(config)
            configuration.check_options(config)
            if config.resume not in (None, "auto"):
                raise ValueError(f"resume={config.resume}: runs of a sweep go on by themselves")
        except (HydraException, OmegaConfBaseException) as error:
            from lifelong.mistakes import told

            raise ValueError(_of(told(error, overrides, config_dir), overrides)) from None
        except ValueError as error:
            raise ValueError(_of(frame.reason(error), overrides)) from None


def _of(text: str, overrides: Sequence[str]) -> str:
    return f"{text} (in the run {' '.join(overrides)}; none was begun)"
