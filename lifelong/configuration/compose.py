"""Configurations composed, beside Hydra's own way: where members lie, what a resolver knows."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from lifelong.configuration.overrides import is_unnamed, key_of, quoted, spelled
from lifelong.configuration.stored import DEVICE

UNTOLD = ("logger",)  # groups whose member says nothing of the results
_OTHERS = ("hydra/", "hydra.")  # overrides that compose nothing of a run
_PACKAGE = Path(__file__).resolve().parent.parent
# Beside the package in a checkout, inside it when installed.
FOLDER = next(p for p in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if p.is_dir())
# Processes of a sweep import this module before Hydra looks for plugins.
sys.path.append(str(_PACKAGE / "plugins"))


def register() -> None:
    """Makes the resolvers known: of values that fidelity or other choices decide."""
    OmegaConf.register_new_resolver("by_fidelity", _by_fidelity, replace=True)
    OmegaConf.register_new_resolver("by", _by, replace=True)


def _by_fidelity(clean: Any, authors: Any, *, _root_: DictConfig) -> Any:
    """`${by_fidelity:<clean>,<authors>}`: the value that goes with the top-level `fidelity`."""
    return authors if _root_.fidelity == "authors" else clean


def _by(groups: str, values: Mapping[str, Any], other: Any, *, _root_: DictConfig) -> Any:
    """`${by:data,{split_cub: 200},100}`: the value that goes with the choice of a group.

    Args:
        groups: one, or several as `data+optimizer`, whose choices the values' keys join alike.
        values: by the choice; of data also by its `name`, which a copy of a member keeps.
        other: of any other choice.
    """
    choices = dict(_root_.get("choices") or {})
    if not choices and HydraConfig.initialized():  # of --cfg job
        choices = dict(HydraConfig.get().runtime.choices)
    for data in (choices.get("data"), _root_.data.get("name")):
        key = "+".join(str({**choices, "data": data}.get(group)) for group in groups.split("+"))
        if key in values:
            return values[key]
    return other


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

    Args:
        config: composed.
        chosen: Hydra's: the member of each group.
        overrides: as they were written.

    Raises:
        ValueError: a search that is to be one run.
    """
    if config.get("search") is not None:
        raise ValueError(f"search={chosen['search']}: needs -m")
    for group, member in chosen.items():
        if member is not None and (plain := _plain_name(str(member))) != member:
            raise ValueError(
                f"{group}={member}: results go by the name of a member; give {group}={plain}"
            )
    config.choices = {
        group: member for group, member in sorted(chosen.items())
        if member is not None and "hydra" not in group and group not in UNTOLD
    }  # fmt: skip
    if config.choices.get("experiment") is not None:
        given = {key_of(text): text for text in overrides}
        changes = [text for key, text in given.items() if not _as_published(key, config)]
        config.changed = sorted(map(spelled, changes))


def _plain_name(member: str) -> str:
    """A member as results name it: Hydra finds it by other spellings, too.

    >>> _plain_name("ewc.yaml"), _plain_name("./tag//cub_er")
    ('ewc', 'tag/cub_er')
    """
    return str(PurePosixPath(member.removesuffix(".yaml")))


def _as_published(key: str, config: DictConfig) -> bool:
    """Whether a run with this override is still the experiment that it names.

    It is on another device, and with another `seed`, from which all others follow.
    """
    if key == "trainer":
        return _computes_alike(config)
    return is_unnamed(key) or key in ("experiment", "name", "seed", *DEVICE)


def _computes_alike(config: DictConfig) -> bool:
    """Whether the trainer's member decides nothing but the device."""
    usual = OmegaConf.load(FOLDER / "trainer" / "auto.yaml")
    free = {key.removeprefix("trainer.") for key in DEVICE} | {"threads", "cuda_graphs"}
    keys = {*config.trainer, *usual} - free
    alike = all(config.trainer.get(key) == usual.get(key) for key in keys)
    return alike and config.compile == main_file().compile
