"""Options that had another name: the old ones work for one release, and say the new one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from lifelong.configuration.compose import FOLDER
from lifelong.configuration.overrides import key_of

RENAMED = {  # old keys, which are read until version 0.3, and the new ones
    "strategy.network.kind": "kind",
    "strategy.most": "strategy.max_unlabeled",
    "strategy.share": "strategy.prune_fraction",
    "heads.initial": "heads.init",
    "backbone.initial": "backbone.init",
}


def renamed(overrides: Sequence[str], note: Callable[[str], None]) -> list[str]:
    """Overrides with keys of this version in the place of an earlier one's.

    An option of somebody's own member or class keeps its name, whatever it is.

    Args:
        overrides: as they were given.
        note: told what has another name.

    >>> renamed(["+heads.initial=uniform"], print)
    heads.initial is heads.init now; the old name goes with version 0.3
    ['+heads.init=uniform']
    """
    given = {key_of(text): text.partition("=")[2] for text in overrides}
    return [_renamed(text, given, note) for text in overrides]


def _renamed(override: str, given: Mapping[str, str], note: Callable[[str], None]) -> str:
    key = key_of(override)
    for old, new in RENAMED.items():
        is_old = key == old or key.startswith(f"{old}.")
        if is_old and not _is_own(old.partition(".")[0], given):
            now = new + key.removeprefix(old)
            note(f"{key} is {now} now; the old name goes with version 0.3")
            return override.replace(key, now, 1)
    return override


def _is_own(group: str, given: Mapping[str, str]) -> bool:
    """Whether the member of a group is one of somebody's own."""
    members = given[group].split(",") if group in given else []
    own = not all((FOLDER / group / f"{member}.yaml").exists() for member in members)
    return own or f"{group}._target_" in given
