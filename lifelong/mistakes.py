"""What is wrong with a command line, in one line, with what would do.

Hydra's own texts are of many lines and name its interfaces; these name the option, the value, and
the names that are near.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lifelong.configuration import FOLDER
from lifelong.sweep import key_of

NEAR = 3  # names that are proposed


def told(error: Exception, overrides: Sequence[str]) -> str:
    """The message for an error of Hydra's.

    Args:
        error: that composing a configuration brought up.
        overrides: of the command.
    """
    text = str(error)
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, text)
    if found := re.match(r"In '.*': Could not (?:find|load) '([^']+)'", text):
        return _no_member(found[1])
    if found := re.match(r"Could not override '([^']+)'", text):
        return _no_option(found[1], overrides)
    if found := re.match(r"(?:Ambiguous value for argument|Sweep parameters) '(.+?)'\s", text):
        several = shlex.join(["python", "-m", "lifelong.run", "-m", *overrides])
        return f"{found[1]}: several values are several runs, which need -m: {several}"
    if found := re.match(r"Could not delete from config. '([^']+)'", text):
        return (
            f"~{found[1]}: there is no such option to leave out{_near_option(found[1], overrides)}"
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


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


def _no_member(path: str) -> str:
    group, _, name = path.partition("/")
    places = (FOLDER / group).rglob("*.yaml")
    members = [place.relative_to(FOLDER / group).with_suffix("").as_posix() for place in places]
    proposed = near(name, members) or ";"
    return f"{group}={name}: there is no such member{proposed} --help lists all"


def _no_option(key: str, overrides: Sequence[str]) -> str:
    given = next((text for text in overrides if key_of(text) == key), key)
    return f"{given}: there is no such option{_near_option(key, overrides) or '; --help lists all'}"


def _near_option(key: str, overrides: Sequence[str]) -> str:
    """Options like one that is not there, beside it or at the top level."""
    config = _composed([text for text in overrides if key_of(text) != key])
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(config, parent) if parent else None
    if isinstance(node, DictConfig):
        return near(name, map(str, node), f"{parent}.")
    groups = [place.name for place in FOLDER.iterdir() if place.is_dir()] if not parent else []
    return near(name, [*map(str, config), *groups])


def _composed(overrides: Sequence[str]) -> DictConfig:
    GlobalHydra.instance().clear()
    for some in (overrides, []):  # others may be wrong as well
        try:
            with initialize_config_dir(str(FOLDER), version_base="1.3"):
                return compose("config", list(some))
        except (HydraException, OmegaConfBaseException, ValueError):
            continue
    return DictConfig({})


def _unreadable(override: str, text: str) -> str:
    key, sign, value = override.partition("=")
    if not sign:
        return f"{override}: is no override; give option=value"
    wrong = ""
    lines = text.splitlines()
    if "NoViableAlt" in lines[0] and len(lines) > 1 and "^" in lines[1]:
        place = lines[1].index("^") - (lines[0].index(override) if override in lines[0] else 0)
        if 0 <= place < len(override):
            wrong = f"the character {override[place]!r} "
    quoted = shlex.quote(f'{key}="{value}"')
    return f"{override}: {wrong or 'the value '}cannot be read as it stands; give {quoted}"
