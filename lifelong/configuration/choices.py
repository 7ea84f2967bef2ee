"""Choices of members that Hydra would refuse in words of its own: seen before it composes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.plugins.config_source import ConfigSource
from omegaconf import DictConfig

from lifelong.configuration.compose import main_file
from lifelong.configuration.keys import check_read
from lifelong.configuration.members import groups
from lifelong.configuration.overrides import key_of
from lifelong.configuration.plain import as_dict

SEVERAL = {"logger": "none", "measure": "accuracy"}  # groups of which a run may have many, or none
OPTIONAL = ("experiment", "search", "debug", "kind", "flatness")  # of which it may have none
GLOBAL = "# @package _global_"


def check_choices(overrides: Sequence[str], config_dir: str | None = None) -> None:
    """Refuses what is no choice of a member, and files of one's own that are none.

    Args:
        overrides: of the command.
        config_dir: folder of a person's own members.

    Raises:
        ValueError: the override or the file, and what would do.
    """
    if config_dir is not None and not Path(config_dir).expanduser().is_dir():
        raise ValueError(f"--config-dir {config_dir}: is no folder; give that of your own members")
    known, main = groups(config_dir), as_dict(main_file(), resolve=False)
    for text in overrides:
        key = key_of(text)
        needed = key in known or main.get(key) is not None  # others may be left out
        if text.startswith("~") and needed and key not in OPTIONAL:
            raise ValueError(f"{text}: every run has one; give {key}={SEVERAL.get(key, '...')}")
        if key in known:
            _check_choice(text, key)
            for path in _own_files(text, config_dir):
                _check_file(path, key, known)


def check_experiments(config: DictConfig, overrides: Sequence[str], config_dir: str | None) -> None:
    """Refuses what an experiment of one's own chooses and the run does not read.

    Raises:
        ValueError: see `check_read`, and that an experiment says so.
    """
    try:
        check_read(config, given_by_experiments(overrides, config_dir))
    except ValueError as error:
        raise ValueError(f"{error} (an experiment of your own gives it)") from None


def given_by_experiments(overrides: Sequence[str], config_dir: str | None) -> list[str]:
    """Keys that experiments of one's own give, as if they were typed: they are to be read, too."""
    found = list[str]()
    for text in overrides:
        for path in _own_files(text, config_dir) if key_of(text) == "experiment" else ():
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            for entry in content.pop("defaults", None) or ():
                keys = entry if isinstance(entry, dict) else {}
                found += [str(key).removeprefix("override ").lstrip("/") for key in keys]
            found += _keys(content, "")
    return found


def _keys(content: Any, path: str) -> list[str]:
    if not isinstance(content, dict) or not content:
        return [path.strip(".")]
    return [key for name, part in content.items() for key in _keys(part, f"{path}.{name}")]


def _check_choice(text: str, key: str) -> None:
    value = text.partition("=")[2].replace(" ", "")
    if (value == "[]" and key not in OPTIONAL) or (value == "null" and key not in OPTIONAL):
        raise ValueError(f"{text}: names no member; give {key}={SEVERAL.get(key, '...')}")
    if value.startswith("[") and key not in (*SEVERAL, *OPTIONAL):
        several = f"-m {key}={value.strip('[]')}"
        raise ValueError(f"{text}: a run has one; several are several runs: {several}")


def _own_files(text: str, config_dir: str | None) -> list[Path]:
    """The files of one's own that an override chooses."""
    if config_dir is None:
        return []
    key, _, value = text.partition("=")
    place = Path(config_dir).expanduser() / key
    paths = [place / f"{name.strip()}.yaml" for name in value.strip("[]").split(",")]
    return [path for path in paths if path.is_file()]


def _check_file(path: Path, group: str, known: Sequence[str]) -> None:
    text = path.read_text(encoding="utf-8")
    try:
        found: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        told = " ".join(str(error).split())
        raise ValueError(f"{path}: is no YAML ({told})") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path}: holds no options; give some as `option: value`, a line each")
    if group == "strategy" and "defaults" not in found:
        own = found.get("strategy", found)
        if not isinstance(own, dict) or not {"network", "optimizer"} <= own.keys():
            raise ValueError(
                f"{path}: gives the method no network and no optimizer; begin it with `defaults:`, "
                "as the file has them that `lifelong run --copy er` writes"
            )
    if group == "experiment":
        _check_experiment(path, text, found, known)


def _check_experiment(path: Path, text: str, found: dict[str, Any], known: Sequence[str]) -> None:
    if ConfigSource._get_header_dict(text).get("package") is None:
        raise ValueError(f"{path}: its first line must be `{GLOBAL}`; what it says may follow")
    for group in known:
        if isinstance(found.get(group), str):
            raise ValueError(
                f"{path}: {group}: {found[group]} chooses no member there; write below `defaults:` "
                f"the line `- override /{group}: {found[group]}`"
            )
