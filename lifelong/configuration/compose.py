"""Configurations composed, beside Hydra's own way: where members lie, what a resolver knows."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf

from lifelong.configuration.overrides import is_unnamed, key_of, quoted
from lifelong.configuration.stored import SEEDS

OPTIONAL = ("pair", "tuned")
UNTOLD = ("logger", "pair", "tuned")  # groups whose member says nothing of the results
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
        ValueError: see `note_choices`.
    """
    register()
    given = [text for text in overrides if not key_of(text).startswith(_OTHERS)]
    if config_dir is not None:
        place = quoted(f"file://{Path(config_dir).absolute()}")
        given.append(f"hydra.searchpath=[{place}]")
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        config = compose("config", given, return_hydra_config=True)
        OmegaConf.set_struct(config, False)
        chosen = config.pop("hydra").runtime.choices
        note_choices(config, chosen, given)
    OmegaConf.set_struct(config, True)
    return config


def note_choices(
    config: DictConfig, chosen: Mapping[str, str | None], overrides: Sequence[str]
) -> None:
    """Notes which members of groups were chosen, and what else was changed of an experiment.

    Hydra is to be initialized.

    Args:
        config: composed.
        chosen: Hydra's: the member of each group.
        overrides: as they were written.

    Raises:
        ValueError: a search that is to be one run.
    """
    known = GlobalHydra.instance().config_loader()
    for group in OPTIONAL:  # Hydra passes over members of these that are not there
        member = chosen.get(group)
        typed = any(key_of(text) == group for text in overrides)
        if typed and member not in (None, *known.get_group_options(group)):
            raise ValueError(f"{group}={member}: there is no such member; leave it out")
    if config.get("search") is not None:
        raise ValueError(f"search={chosen['search']}: needs -m")
    config.choices = {
        group: member for group, member in sorted(chosen.items())
        if member is not None and "hydra" not in group and group not in UNTOLD
    }  # fmt: skip
    if config.choices.get("experiment") is not None:
        given = {key_of(text): text for text in overrides}
        config.changed = [text for key, text in given.items() if not _as_published(key)]


def _as_published(key: str) -> bool:
    """Whether a run with this override is still the experiment that it names."""
    others = ("experiment", "trainer", "name", "evaluate_every")
    seeds = set(SEEDS) - {"data.class_seed", "data.order_seed"}
    return is_unnamed(key) or key in seeds or key in others
