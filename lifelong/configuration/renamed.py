"""Options that had another name: the old ones work for one release, and say the new one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set

from lifelong.configuration.compose import FOLDER
from lifelong.configuration.former import METHODS
from lifelong.configuration.members import members
from lifelong.configuration.overrides import key_of
from lifelong.configuration.tables import chosen, rows

_METHODS = {
    f"strategy.{old}": f"strategy.{new}" for of in METHODS.values() for old, new in of.items()
}
# Old keys of a value under which options of their own stand now.
PARTS = {old: new for old, new in _METHODS.items() if new.startswith(f"{old}.")}
RENAMED = {  # old keys, which are read until version 0.3, and the new ones
    "strategy.network.kind": "kind",
    **{old: new for old, new in _METHODS.items() if old not in PARTS},
    **{f"{group}.initial": f"{group}.init" for group in ("heads", "backbone")},
}
# Members of a group to which an old key belongs; other members have it still.
OF = {
    "strategy.batch_size": {"ewc", "mas"},
    "strategy.share": {"tickets_bu"},
    "strategy.most": {"cil", "tickets_td", "tickets_bu"},
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
    given = {key_of(text): text.partition("=")[2] for text in overrides}
    theirs = {*own, *_own_groups(given)}
    return [_renamed(text, given, theirs, note) for text in overrides]


def _renamed(
    override: str, given: Mapping[str, str], theirs: Set[str], note: Callable[[str], None]
) -> str:
    key, value = key_of(override), override.partition("=")[2]
    if key in PARTS and not value.startswith(("{", "null")):
        now = PARTS[key]
    else:
        old = next((each for each in RENAMED if f"{key}.".startswith(f"{each}.")), key)
        now = RENAMED.get(old, old) + key.removeprefix(old)
    group = key.partition(".")[0]
    if now == key or group in theirs or (key in OF and not _chosen(given, group) <= OF[key]):
        return override
    note(f"{key} is {now} now; the old name goes with version 0.3")
    return override.replace(key, now, 1)


def _chosen(given: Mapping[str, str], group: str) -> set[str]:
    """The members of a group that overrides choose, by its name or by that of a row."""
    if group in given:
        return set(given[group].split(","))
    row = rows(FOLDER / "tables").get(given.get("experiment", ""))
    return set() if row is None else {chosen(row["config"]).get(group, "")}


def _own_groups(given: Mapping[str, str]) -> Iterator[str]:
    """Groups of which somebody's own member or class is chosen."""
    for group in {old.partition(".")[0] for old in RENAMED}:
        named = set(given[group].split(",")) if group in given else set()
        if f"{group}._target_" in given or not named <= members(group).keys():
            yield group
