"""What is wrong with a command line, in one line, with what would do.

Hydra's own texts are of many lines and name its interfaces; these name the option, the value, and
the names that are near.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lifelong import errors
from lifelong.configuration.choices import check_experiments
from lifelong.configuration.complete import complete
from lifelong.configuration.compose import composed
from lifelong.configuration.keys import check_added, check_kinds, check_known, check_read
from lifelong.configuration.members import groups, members
from lifelong.configuration.options import check_options
from lifelong.configuration.overrides import key_of, quoted, sweep_command

NEAR = 3  # names that are proposed
LAUNCHERS = ("basic", "joblib", "submitit_local", "submitit_slurm")


def explain(error: Exception, overrides: Sequence[str], config_dir: str | None = None) -> str:
    """The message for an error of Hydra's.

    Args:
        error: that composing a configuration brought up.
        overrides: of the command.
        config_dir: folder of a person's own members.
    """
    text = str(error)
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, text)
    if found := re.match(r"In '.*': Could not (?:find|load) '([^']+)'", text):
        return _no_member(found[1], config_dir)
    if "Config group override must be a string" in text:
        return _no_name(overrides)
    if found := re.match(r"Could not override '([^']+)'", text):
        return _no_option(found[1], overrides, config_dir)
    if found := re.match(r"(?:Ambiguous value for argument|Sweep parameters) '(.+?)'\s", text):
        several = sweep_command(overrides, config_dir)
        return f"{found[1]}: several values are several runs, which need -m: {several}"
    if found := re.match(r"Could not delete from config. '([^']+)'", text):
        near_ones = _near_option(found[1], overrides, config_dir)
        return f"~{found[1]}: there is no such option to leave out{near_ones}"
    return text.strip().partition("\n")[0] or type(error).__name__


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
            keys = [key_of(text) for text in overrides]
            check_kinds(config, keys)
            check_read(config, keys)
            check_experiments(config, overrides, config_dir)
            check_added(config, [key_of(text) for text in overrides if text.startswith("+")])
            check_known(config)
            complete(config)
            check_options(config)
            if config.resume not in (None, "auto"):
                raise ValueError(f"resume={config.resume}: runs of a sweep go on by themselves")
        except (HydraException, OmegaConfBaseException) as error:
            raise ValueError(_of(explain(error, overrides, config_dir), overrides)) from None
        except ValueError as error:
            raise ValueError(_of(errors.reason(error), overrides)) from None


def _of(text: str, overrides: Sequence[str]) -> str:
    return f"{text} (in the run {' '.join(overrides)}; none was begun)"


def near(name: str, known: Iterable[str], before: str = "") -> str:
    """The known names that are like a name, as a question; empty if none is.

    Args:
        name: that is not known.
        known: names.
        before: what stands before each that is proposed.

    >>> near("epoch", ["epochs", "seed"])
    '; did you mean epochs?'
    """
    found = [before + each for each in get_close_matches(name, sorted(set(known)), NEAR, 0.6)]
    return f"; did you mean {' or '.join(found)}?" if found else ""


def _no_member(path: str, config_dir: str | None) -> str:
    group, _, name = path.rpartition("/") if path.startswith("hydra/") else path.partition("/")
    known = LAUNCHERS if group == "hydra/launcher" else members(group, config_dir)
    proposed = near(name, known) or ";"
    return f"{group}={name}: there is no such member{proposed} --help lists all"


def _no_name(overrides: Sequence[str]) -> str:
    """Of a number, a truth value or null in the place of a member's name."""
    for override in overrides:
        key, value = key_of(override), override.partition("=")[2]
        if key in groups() and value not in members(key):
            return f"{override}: there is no such member; --help lists all"
    return "members of groups are names; --help lists all"


def _no_option(key: str, overrides: Sequence[str], config_dir: str | None) -> str:
    given = next((text for text in overrides if key_of(text) == key), key)
    group, _, option = key.partition(".")
    others = [text for text in overrides if key_of(text) != key]
    having = _members_with(group, option, config_dir) if group in groups() and option else []
    if having and group not in _composed(others, config_dir):
        return f"{given}: no {group} is chosen; `lifelong list {group}` names those that there are"
    if having:
        return f"{given}: is an option of {' or '.join(having[:NEAR])}, which is not chosen"
    near_ones = _near_option(key, overrides, config_dir)
    if not near_ones:
        parent = key.rpartition(".")[0]
        node = OmegaConf.select(_composed([], config_dir), parent) if parent else None
        near_ones = "; --help lists all" if node is None else f"; --cfg job shows those of {parent}"
    return f"{given}: there is no such option{near_ones}"


def _members_with(group: str, option: str, config_dir: str | None) -> list[str]:
    """Members of a group that have an option, as they are chosen."""
    name = re.escape(option.rpartition(".")[2])
    return [
        f"{group}={member}"
        for member, found in members(group, config_dir).items()
        if re.search(rf"^ *{name}:", found.text(), re.MULTILINE)
        and (option.count(".") == 0 or f"{option.split('.')[0]}:" in found.text())
    ]


def _near_option(key: str, overrides: Sequence[str], config_dir: str | None) -> str:
    """Options like one that is not there, beside it or at the top level."""
    config = _composed([text for text in overrides if key_of(text) != key], config_dir)
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else None
    if isinstance(node, DictConfig):
        return near(name, map(str, node), f"{parent}.")
    return near(name, [*map(str, config), *([] if parent else groups())])


def _composed(overrides: Sequence[str], config_dir: str | None) -> DictConfig:
    for some in (overrides, []):  # others may be wrong as well
        try:
            return composed(some, config_dir)
        except (HydraException, OmegaConfBaseException, ValueError):
            continue
    return DictConfig({})


def _unreadable(override: str, text: str) -> str:
    key, sign, value = override.partition("=")
    if not sign:
        return f"{override}: is no option=value; put quotes around a value with spaces"
    wrong = ""
    lines = text.splitlines()
    if "NoViableAlt" in lines[0] and len(lines) > 1 and "^" in lines[1]:
        place = lines[1].index("^") - (lines[0].index(override) if override in lines[0] else 0)
        if 0 <= place < len(override):
            wrong = f"the character {override[place]!r} "
    way = shlex.quote(f"{key}={quoted(value)}")
    return f"{override}: {wrong or 'the value '}cannot be read as it stands; give {way}"
