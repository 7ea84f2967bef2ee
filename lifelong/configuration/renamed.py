"""Options that had another name: the old ones work for one release, and say the new one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set

from lifelong.configuration.members import members
from lifelong.configuration.overrides import key_of

RENAMED = {  # old keys, which are read until version 0.3, and the new ones
    "strategy.network.kind": "kind",
    "strategy.most": "strategy.max_unlabeled",
    "strategy.share": "strategy.prune_fraction",
    "heads.initial": "heads.init",
    "backbone.initial": "backbone.init",
}


def renamed(
    overrides: Sequence[str], note: Callable[[str], None], own: Iterable[str] = ()
) -> list[str]:
    """Overrides with keys of this version in the place of an earlier one's.

    An option of somebody's own member or class keeps its name, whatever it is.

    Args:
        overrides: as they were given.
        note: told what has another name.
        own: groups in whose place somebody's object stands.

    >>> renamed(["+heads.initial=uniform"], print)
    heads.initial is heads.init now; the old name goes with version 0.3
    ['+heads.init=uniform']
    """
    theirs = {*own, *_own_groups(overrides)}
    return [_renamed(text, theirs, note) for text in overrides]


def _renamed(override: str, theirs: Set[str], note: Callable[[str], None]) -> str:
    key = key_of(override)
    for old, new in RENAMED.items():
        is_old = key == old or key.startswith(f"{old}.")
        if is_old and old.partition(".")[0] not in theirs:
            now = new + key.removeprefix(old)
            note(f"{key} is {now} now; the old name goes with version 0.3")
            return override.replace(key, now, 1)
    return override


def _own_groups(overrides: Sequence[str]) -> Iterator[str]:
    """Groups of which somebody's own member or class is chosen."""
    given = {key_of(text): text.partition("=")[2] for text in overrides}
    for group in {old.partition(".")[0] for old in RENAMED}:
        chosen = set(given[group].split(",")) if group in given else set()
        if f"{group}._target_" in given or not chosen <= members(group).keys():
            yield group
