"""Options of what is built: their names, types, and whether they have an effect."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import SimpleNamespace, UnionType
from typing import Any, Literal, Union, Unpack, get_args, get_origin, get_type_hints

from hydra.utils import get_object
from omegaconf import DictConfig, ListConfig, OmegaConf

from lifelong.configuration.renamed import RENAMED

# What Hydra itself reads of a node with a target.
_HYDRA = {"_target_", "_partial_", "_convert_", "_recursive_", "_args_"}


def check_options(node: Any, path: str = "") -> None:
    """Checks the plain values of nodes with a `_target_`: their types, and that they act.

    Types are the target's annotations. Where a target has a table `acts_with`, {option: condition},
    an option that is not at its default needs its condition, such as `rule=adam` or
    `likelihood=null and prior!=fixed or em=paper|release`, about other options of the same node.
    What refers to another value (`${...}`) was set by nobody and is left alone.

    Raises:
        ValueError: the option, its value and what would do; or a target that is not there.
    """
    if isinstance(node, ListConfig):
        for index, value in enumerate(node):
            check_options(value, f"{path}[{index}]")
    elif isinstance(node, DictConfig):
        if "_target_" in node:  # before what lies deeper and may refer to it
            _check_built(node, path)
        for key in node:
            check_options(node[key], f"{path}.{key!s}" if path else str(key))


def _check_built(node: DictConfig, path: str) -> None:
    """The options of a node itself, see `check_options`."""
    found = _target(node["_target_"], path)
    hints, options = _annotations(found)
    for key in map(str, node):
        name = f"{path}.{key}" if path else key
        if options is not None and key not in options | _HYDRA:
            if name in RENAMED:  # in a file, whose keys are read as they stand
                raise ValueError(f"{name}: is {RENAMED[name]} now; give it that name")
            way = f"with ~{name}" if node[key] is not None else "in a member of your own"
            raise ValueError(f"{name}: {node['_target_']} has no such option; leave it out {way}")
        if key in hints and not _holds_nodes(node[key]):
            _check_type(name, node[key], hints[key])
        if isinstance(node[key], float) and not math.isfinite(node[key]):
            raise ValueError(f"{name}={node[key]}: give a finite number")
    values = {str(key): node[key] for key in node}
    typed = {k: v for k, v in values.items() if not OmegaConf.is_interpolation(node, k)}
    _refuse_idle(found, path, typed, values)


def _refuse_idle(
    target: Any, path: str, typed: Mapping[str, Any], given: Mapping[str, Any]
) -> None:
    """Refuses options that are not at their defaults and have no effect, see `check_options`.

    Args:
        target: what has the options, and maybe a table `acts_with`.
        path: of the options.
        typed: options that somebody set.
        given: all options of the node.

    Raises:
        ValueError: the option, its value and what would make it act.
    """
    conditions: Mapping[str, str] = getattr(target, "acts_with", {})
    usual = defaults(target) if conditions else {}
    values = usual | dict(given)
    for option, condition in conditions.items():
        if option in typed and values[option] != usual[option] and not holds(condition, values):
            raise without_effect(path, option, values[option], condition)


def defaults(target: Any) -> dict[str, Any]:
    """Of a target's options, by name; those that a constructor hands on are of its base."""
    found: dict[str, Any] = {}
    for owner in target.__mro__ if isinstance(target, type) else (target,):
        made = vars(owner).get("__init__") if isinstance(owner, type) else owner
        if made is None:
            continue
        parameters = inspect.signature(made).parameters.values()
        found = {p.name: p.default for p in parameters} | found
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
            break
    return found


def without_effect(path: str, option: str, value: Any, condition: str) -> ValueError:
    """Of an option without effect, with the condition under which it has one."""
    shown = re.sub(r"(\w+)(!?=)", rf"{path}.\1\2", condition).replace("|", " or ")
    return ValueError(
        f"{path}.{option}={value}: only with {shown.replace('!=', ' other than ')}; else it has no "
        "effect"
    )


def holds(condition: str, values: Mapping[str, Any]) -> bool:
    """Whether a condition of `acts_with` is met by a node's values."""

    def met(part: str) -> bool:
        key, sign, wanted = re.split(r"(!?=)", part, maxsplit=1)
        value = "null" if values[key] is None else str(values[key])
        return (value in wanted.split("|")) == (sign == "=")

    return any(all(map(met, way.split(" and "))) for way in condition.split(" or "))


def _holds_nodes(value: Any) -> bool:
    """Whether a value is a node to build an object of, or a list of such."""
    items = value if isinstance(value, ListConfig) else [value]
    return any(isinstance(item, DictConfig) for item in items)


def _target(name: str, path: str) -> Any:
    """What a node is to be built with."""
    try:
        return get_object(name)
    except Exception as error:  # whatever importing a module of the user's brings up
        raise ValueError(f"{path}._target_={name}: {error}") from None


def _annotations(found: Any) -> tuple[dict[str, Any], set[str] | None]:
    """Types of a target's parameters, and their names; None if it takes any."""
    constructor = inspect.getattr_static(found, "__init__") if isinstance(found, type) else found
    hints = _hints(constructor)
    parameters = inspect.signature(constructor).parameters.values()
    names = {parameter.name for parameter in parameters}
    rest = [hints.get(p.name) for p in parameters if p.kind is inspect.Parameter.VAR_KEYWORD]
    for hint in rest:
        if get_origin(hint) is Unpack:
            hints |= get_type_hints(get_args(hint)[0])
            names |= get_type_hints(get_args(hint)[0]).keys()
    takes_any = any(get_origin(hint) is not Unpack for hint in rest)
    return hints, None if takes_any else names


def _hints(function: Any) -> dict[str, Any]:
    """Types of parameters, but for those that are there for a type checker alone."""
    try:
        return get_type_hints(function)
    except NameError:
        known: dict[str, Any] = {}
        for name, hint in function.__annotations__.items():
            with suppress(NameError):
                one = SimpleNamespace(__annotations__={name: hint})
                known |= get_type_hints(one, function.__globals__)
        return known


def _check_type(name: str, value: Any, hint: Any) -> None:
    from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

    plain = OmegaConf.to_container(value, resolve=True) if isinstance(value, ListConfig) else value
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
        parts = " or ".join(_wanted(part) for part in get_args(hint)).split(" or ")
        return " or ".join(dict.fromkeys(parts))
    if get_origin(hint) is not None and issubclass(get_origin(hint), Sequence):
        return f"a list of {_wanted(get_args(hint)[0])}"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return words.get(hint, getattr(hint, "__name__", str(hint)))
