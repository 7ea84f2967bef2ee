"""Overrides as texts: their keys, their quotes, and those that change no result."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from lifelong.configuration.stored import HANDLING

UNNAMED = (*HANDLING, "hydra")
# Of a search that goes on in its folder, and how a run is computed.
GOING_ON = ("search.trials", "search.at_once", "trainer.threads", "trainer.cuda_graphs")
FOLDERS = {"hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir"}


def unnamed(fixed: Sequence[str]) -> str:
    """The override that keeps keys of one value out of the names of the runs."""
    keys = dict.fromkeys([*UNNAMED, "paths.output_dir", "paths.data_dir", *GOING_ON, *fixed])
    return f"hydra.job.config.override_dirname.exclude_keys=[{','.join(keys)}]"


def quoted(value: str) -> str:
    r"""A text as Hydra reads it between quotes.

    >>> quoted("ab"), quoted('a"b')
    ('"ab"', '\'a"b\'')
    """
    quote = "'" if '"' in value and "'" not in value else '"'
    inside = re.sub(rf"(\\*){quote}", rf"\1\1\\{quote}", value)
    inside = re.sub(r"(\\+)$", r"\1\1", inside)
    return f"{quote}{inside}{quote}"


def sweep_command(overrides: Sequence[str], config_dir: str | None = None) -> str:
    """The command of a sweep, as a person types it.

    >>> print(sweep_command(["lr=1,2"], "my conf"))
    lifelong run -m --config-dir 'my conf' lr=1,2
    """
    own = [] if config_dir is None else ["--config-dir", config_dir]
    return shlex.join(["lifelong", "run", "-m", *own, *overrides])


def readable(override: str) -> str:
    """An override whose value Hydra can read: other alphabets and ~ for home need its quotes.

    >>> readable("name=b\u00e4r"), readable("name=bear"), readable("name=[b\u00e4r]")
    ('name="b\u00e4r"', 'name=bear', 'name=[b\u00e4r]')
    """
    if override.startswith("-"):  # an argument such as --config-dir=...
        return override
    key, sign, value = override.partition("=")
    foreign = value.startswith("~") or any(ord(each) > 127 for each in value)
    known = re.fullmatch(r"[\w \-/.%+@?|:$~]*", value)
    return f"{key}={quoted(value)}" if sign and foreign and known else override


def spelled(override: str) -> str:
    """An override as it is always written, however many blanks and signs it was given with.

    >>> spelled("+schedule.at=[5, 6]"), spelled("~schedule"), spelled("lr=1e-4")
    ('schedule.at=[5,6]', '~schedule', 'lr=0.0001')
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser

    found = OverridesParser.create().parse_override(override)
    if found.is_delete() or found.is_sweep_override():
        return override
    return f"{key_of(override)}={found.get_value_element_as_str()}"


def key_of(override: str) -> str:
    """The key of an override as it is written, without the signs for adding and removing."""
    return override.partition("=")[0].lstrip("+~")


def is_unnamed(key: str) -> bool:
    """Whether an override changes no result, so that its sweep is the same with it."""
    return key in GOING_ON or re.split(r"[./]", key)[0] in UNNAMED


def check_no_folders(overrides: Sequence[str]) -> None:
    """Refuses Hydra's own folders, by which no run goes.

    Raises:
        ValueError: the override, and what to give in its place.
    """
    for text in overrides:
        if key_of(text) in FOLDERS:
            raise ValueError(f"{text}: runs do not go by it; give paths.output_dir")
