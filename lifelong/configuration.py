"""The composed configuration: where it lies, what is refused, what two runs differ in.

Nothing here imports torch, so that help and refusals answer at once.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, ListConfig, OmegaConf

_PACKAGE = Path(__file__).resolve().parent
# Beside the package in a checkout, inside it when installed.
FOLDER = next(p for p in (_PACKAGE / "conf", _PACKAGE.parent / "conf") if p.is_dir())

PROTOCOL = ("epochs", "batch_size", "lr")  # null: the protocol of the data and strategy
# What may differ between the two parts of a resumed run, because it changes no result.
HARMLESS = ("paths", "resume", "logger", "keep", "checkpoint_every", "download")

_WHOLE = {  # least values of the whole numbers at the top level
    "seed": 0,
    "seeds.init": 0,
    "seeds.batches": 0,
    "data.seed": 0,
    "epochs": 1,
    "batch_size": 1,
    "tasks": 1,
    "evaluate_every": 0,
    "checkpoint_every": 0,
}
_CHOICES = {
    "evaluate": ("task", "both"),
    "keep": ("latest", "all"),
    "download": (True, False),
}


def complete(config: DictConfig) -> None:
    """Checks the values at the top level and fills in the protocol's where they are null.

    Raises:
        ValueError: the option, its value, and what would do.
    """
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise ValueError(f"{missing[0]} is not given; its file in conf/ says what it is")
    for key in PROTOCOL:
        if config[key] is None:
            config[key] = config.protocol[key]
    for key, least in _WHOLE.items():
        _check_whole(key, OmegaConf.select(config, key), least)
    lr = config.lr
    if not isinstance(lr, int | float) or isinstance(lr, bool) or not 0 < lr < float("inf"):
        raise ValueError(f"lr={lr}: give a learning rate above 0")
    for key, allowed in _CHOICES.items():
        if config[key] not in allowed:
            raise ValueError(f"{key}={config[key]}: give {' or '.join(map(str, allowed))}")


def _check_whole(key: str, value: Any, least: int) -> None:
    if value is None and key == "tasks":
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{key}={value}: give a whole number, {least} or more")


def check_types(node: Any, path: str = "") -> None:
    """Compares the plain values of nodes with a `_target_` with the target's annotations.

    Raises:
        ValueError: the option, its value and the type that would do; or a target that is not there.
    """
    if isinstance(node, ListConfig):
        for index, value in enumerate(node):
            check_types(value, f"{path}[{index}]")
    elif isinstance(node, DictConfig):
        hints = _annotations(node["_target_"], path) if "_target_" in node else {}
        for key in node:
            name = f"{path}.{key!s}" if path else str(key)
            if not isinstance(node[key], DictConfig) and key in hints:
                _check_type(name, node[key], hints[str(key)])
            check_types(node[key], name)


def _annotations(target: str, path: str) -> dict[str, Any]:
    try:
        found = pkgutil.resolve_name(target)
    except Exception as error:  # whatever importing a module of the user's brings up
        raise ValueError(f"{path}._target_={target}: {error}") from None
    constructor = inspect.getattr_static(found, "__init__") if isinstance(found, type) else found
    return get_type_hints(constructor)


def _check_type(name: str, value: Any, hint: Any) -> None:
    from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

    plain = OmegaConf.to_container(value) if isinstance(value, ListConfig) else value
    for form in (plain, tuple(plain)) if isinstance(plain, list) else (plain,):
        with suppress(TypeCheckError):
            check_type(form, hint, collection_check_strategy=CollectionCheckStrategy.ALL_ITEMS)
            return
    shown = "null" if plain is None else plain
    raise ValueError(f"{name}={shown}: give {_wanted(hint)}")


def _wanted(hint: Any) -> str:
    """A type in words."""
    if hint is type(None):
        return "null"
    if get_origin(hint) is Literal:
        return " or ".join(str(value) for value in get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_wanted(part) for part in get_args(hint))
    if get_origin(hint) is not None and issubclass(get_origin(hint), Sequence):
        return f"a list of {_wanted(get_args(hint)[0])}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return words.get(hint, getattr(hint, "__name__", str(hint)))


def output_folder(config: DictConfig, strategy: str, data: str) -> Path:
    """The run's folder: the one to resume, the one that was asked for, or a new dated one."""
    if config.resume not in (None, "auto"):
        folder = Path(config.resume)
        if not (folder / "config.yaml").exists():
            raise ValueError(
                f"resume={folder}: holds no run (no config.yaml); give the folder of a run, or "
                "resume=auto with paths.output_dir"
            )
        return folder
    if config.paths.output_dir is not None:
        return Path(config.paths.output_dir)
    stamp = datetime.now().strftime("%Y-%m-%d_%H-%M-%S")
    base, number = Path("outputs") / f"{stamp}_{strategy}_{data}", 1
    folder = base
    while folder.exists():
        number += 1
        folder = base.with_name(f"{base.name}_{number}")
    return folder


def differences(old: DictConfig, new: DictConfig) -> list[str]:
    """What would change results between two configurations, as `key: old, now new`."""
    before, after = dict(_leaves(old)), dict(_leaves(new))
    return [
        f"{key}: was {before.get(key, 'absent')}, is now {after.get(key, 'absent')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key, "absent") != after.get(key, "absent")
    ]


def _leaves(config: DictConfig) -> Iterator[tuple[str, Any]]:
    resolved = OmegaConf.to_container(config, resolve=True)
    assert isinstance(resolved, dict)
    for key in HARMLESS:
        resolved.pop(key, None)
    paths = {str(value) for value in config.paths.values() if value is not None}
    yield from _flat(resolved, "", paths)


def _flat(value: Any, path: str, ignored: set[str]) -> Iterator[tuple[str, Any]]:
    """Leaves by dotted key, but for copies of paths and of the download switch."""
    if isinstance(value, dict):
        for key, entry in value.items():
            if key not in ("data_dir", "download"):
                yield from _flat(entry, f"{path}.{key}" if path else str(key), ignored)
    elif str(value) not in ignored:
        yield path, value
