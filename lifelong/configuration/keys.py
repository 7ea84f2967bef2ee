"""Which keys a run reads; overrides of others are refused."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from omegaconf import DictConfig, OmegaConf

from lifelong.configuration.compose import main_file
from lifelong.configuration.members import groups
from lifelong.configuration.options import holds, without_effect
from lifelong.configuration.plain import as_dict

FILLED_IN = ("choices", "changed", "threads", "cuda_graphs")  # notes of the run
# What a run reads whatever it is made of; all else only if one of these refers to it.
ROOTS = (
    "strategy", "data", "trainer", "logger", "measure", "epochs", "batch_size", "lr", "tasks",
    "restore_best", "evaluate_every", "optimizer_lifetime", "optimizer_groups", "compile", "seeds",
    "flatness", "mask", "paths",
)  # fmt: skip
# Groups and keys that not every strategy reads.
UNREAD_BY_SOME = (
    "transfer", "kind", "backbone", "heads", "optimizer", "schedule", "unlabeled", "deconvolution",
    "multi_head", "protocol.hidden", "protocol.dropout",
)  # fmt: skip
PLAIN = ("paths", "seeds", "protocol")  # blocks of options that build nothing by themselves
# Options that cut a source into tasks, and beside what each has an effect; files in conf/data give
# many of them at once, so only those of a command are looked at.
SPLIT_ACTS_WITH = {
    "tasks": "classes=null",
    "shuffle_classes": "classes=null",
    "class_seed": "classes=null and shuffle_classes=True",
    "fraction": "per_class=null and shares=null",
    "images_per_class": "per_class=null and shares=null",
    "validation": "per_class=null and shares=null",
}


def read_keys(config: DictConfig) -> set[str]:
    """The keys that a run reads: those of `ROOTS` and what these refer to, in turn."""
    values = as_dict(config, resolve=False)
    found: set[str] = set()
    waiting = [key for key in values if key in ROOTS]
    while waiting:
        key = waiting.pop()
        if key in found:
            continue
        found.add(key)
        value: Any = values
        for part in re.findall(r"[^.\[\]]+", key):
            value = value.get(part) if isinstance(value, dict) else None
        waiting += _references(value)
    return found


def _references(value: Any) -> Iterator[str]:
    """The keys that a part of a configuration refers to."""
    if isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _references(entry)
    elif isinstance(value, str):
        yield from re.findall(r"\$\{([\w.]+)", value)
        if "${by_fidelity:" in value:
            yield "fidelity"


def reads_fidelity(config: DictConfig) -> bool:
    """Whether anything of the run departs from its paper with `fidelity=authors`."""
    if "fidelity" not in read_keys(config):
        return False
    clean, authors = (_roots(config, fidelity) for fidelity in ("clean", "authors"))
    return clean != authors  # a value may be chosen by other things before fidelity


def _roots(config: DictConfig, fidelity: str) -> list[Any]:
    """The values of `ROOTS` with such a fidelity."""
    other = config.copy()
    other.fidelity = fidelity
    values = [other[key] for key in ROOTS if key in other]
    return [
        OmegaConf.to_container(v, resolve=True) if OmegaConf.is_config(v) else v for v in values
    ]


def check_read(config: DictConfig, overrides: Iterable[str]) -> None:
    """Refuses overrides of what the run does not read, such as `strategy=ewc transfer=top2`.

    Args:
        config: composed.
        overrides: keys of the command.

    Raises:
        ValueError: the key, and the members that do not read it.
    """
    found, overrides = read_keys(config), list(overrides)
    read = {*found, *(key.split(".")[0] for key in found)}
    for key in overrides:
        for part in (re.split(r"[./@]", key)[0], key):
            if part in UNREAD_BY_SOME and part not in read:
                raise ValueError(
                    f"{key}: strategy={config.choices.strategy} on data={config.choices.data} does "
                    f"not read {part}; leave it out"
                )
    _check_split(config, overrides)


def check_kinds(config: DictConfig, overrides: Iterable[str]) -> None:
    """Refuses values for what has options of its own, such as `paths=x`, or is filled in.

    Args:
        config: composed.
        overrides: keys of the command.

    Raises:
        ValueError: the key, and what would do.
    """
    known = as_dict(main_file(), resolve=False)
    for key in overrides:
        if key in FILLED_IN:
            raise ValueError(f"{key}={config[key]}: is filled in by the run; leave it out")
    groups = {str(key): list(of) for key, of in known.items() if isinstance(of, dict)}
    groups["published"] = ["<metric>"]
    groups.pop("hydra")  # which is not in a composed configuration
    for key, inside in groups.items():
        value = config.get(key)
        if not OmegaConf.is_dict(value) and not (value is None and known.get(key) is None):
            ways = ", ".join(f"{key}.{each}" for each in inside)
            shown = "null" if value is None else value
            raise ValueError(f"{key}={shown}: has options of its own; give {ways}")


def check_added(config: DictConfig, keys: Iterable[str]) -> None:
    """Refuses new keys at the top level that nothing reads, such as `+epoch=3`.

    Args:
        config: composed.
        keys: that the command gave with a plus.

    Raises:
        ValueError: the key.
    """
    known, chosen = main_file().keys() | read_keys(config), groups()
    for key in keys:
        top = re.split(r"[./@]", key)[0]
        if top not in known and top not in chosen and top != "hydra":
            raise ValueError(f"+{key}: nothing reads {top}; {_instead(top, known)}")


def check_known(config: DictConfig) -> None:
    """Refuses keys that nothing reads, such as `epoch: 3` in an experiment of one's own.

    Args:
        config: composed.

    Raises:
        ValueError: the key.
    """
    main, words = as_dict(main_file(), resolve=False), _words(as_dict(config, resolve=False))
    _check_keys(config, {*main, *groups(), *(word.split(".")[0] for word in words)}, "")
    for block in PLAIN:
        inside = {word.split(".")[1] for word in words if word.startswith(f"{block}.")}
        _check_keys(config[block], {*main[block], *inside}, f"{block}.")


def _words(value: Any) -> set[str]:
    """What references in a part of a configuration may name, arguments of resolvers, too."""
    if isinstance(value, dict | list):
        return {
            word for each in (value.values() if isinstance(value, dict) else value)
            for word in _words(each)
        }  # fmt: skip
    if not isinstance(value, str) or "${" not in value:
        return set()
    return set(re.findall(r"[A-Za-z_][\w.]*", value))


def _check_keys(part: DictConfig, known: set[str], path: str) -> None:
    for key in map(str, part):
        if key not in known:
            asked = _instead(key, known, path)
            raise ValueError(f"{path}{key}={part[key]}: nothing reads it; {asked}")


def _instead(key: str, known: Iterable[object], path: str = "") -> str:
    """What would do in place of a key that nothing reads."""
    like = get_close_matches(key, sorted(map(str, known)), 1, 0.6)
    return f"did you mean {path}{like[0]}?" if like else "leave it out"


def _check_split(config: DictConfig, overrides: Iterable[str]) -> None:
    """Refuses options of a stream that another one of the command makes idle."""
    options = {str(key): config.data[key] for key in config.data}
    options.setdefault("shares", None)
    if isinstance(options.get("classes"), str):  # a file, in whose order they are cut into tasks
        options["classes"] = None
    for key, condition in SPLIT_ACTS_WITH.items():
        known = all(name in options for name in re.findall(r"(\w+)=", condition))
        if f"data.{key}" in overrides and known and not holds(condition, options):
            raise without_effect("data", key, options[key], condition)
