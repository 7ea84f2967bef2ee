"""The members of configuration groups: listed, and copied to be changed.

`lifelong list` names the groups, `lifelong list strategies` the members of one with a line each,
`lifelong list experiments tag cub` those whose names or lines have all these words. With
config_dir=DIR also the members of a folder of one's own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lifelong.configuration import tables
from lifelong.configuration.arguments import Argument, at_home, parse
from lifelong.configuration.compose import FOLDER
from lifelong.errors import command
from lifelong.storage.files import write_text

PLURALS = {"strategies": "strategy", "bodies": "backbone", "streams": "data", "searches": "search"}
OPTIONS = {"config_dir": Argument("a folder of members of one's own", folder=True)}


@dataclass(frozen=True)
class Member:
    """A member of a group: a file, or a row of a page.

    Attributes:
        path: of the file or of the folder of pages.
        row: its group and name, of a row.
    """

    path: Path
    row: tuple[str, str] | None = None

    def text(self) -> str:
        """As a file of its own."""
        if self.row is None:
            return self.path.read_text(encoding="utf-8")
        group, name = self.row
        return tables.text(name, tables.rows(self.path, group)[name], group)

    def summary(self) -> str:
        """The first comment that says what it is."""
        if self.row is not None:
            group, name = self.row
            return tables.line(tables.rows(self.path, group)[name])
        lines = self.text().splitlines()
        said = (line for line in lines if line.startswith("#") and "@package" not in line)
        return next(said, "").lstrip("# ").strip()


def homes(config_dir: str | None = None) -> list[Path]:
    """The folders that hold groups, the own one last."""
    return [FOLDER, *([Path(config_dir).expanduser()] if config_dir else [])]


def config_dir_of(arguments: Sequence[str]) -> str | None:
    """The folder of one's own members that a command line names."""
    for number, text in enumerate(arguments):
        name, sign, value = text.partition("=")
        if name in ("--config-dir", "-cd"):
            return value if sign else next(iter(arguments[number + 1 :]), None)
    return None


def own_folder(argument: str) -> str:
    """An argument `--config-dir=~/x` as a shell would give it if the ~ stood alone.

    >>> own_folder("--config-dir=here"), own_folder("lr=1"), "~" in own_folder("-cd=~/x")
    ('--config-dir=here', 'lr=1', False)
    """
    name, sign, value = argument.partition("=")
    return f"{name}{sign}{at_home(value)}" if name in ("--config-dir", "-cd") else argument


def groups(config_dir: str | None = None) -> list[str]:
    """Names of the groups that a person chooses from."""
    found = {place.name for home in homes(config_dir) for place in home.glob("[!_.]*/")}
    found |= {page.stem for page in (FOLDER / "tables").glob("*.yaml")}
    return sorted(found - {"hydra", "tables"})


def members(group: str, config_dir: str | None = None) -> dict[str, Member]:
    """The members of a group by their names, such as `tag/cub_er`."""

    def natural(name: str) -> list[str]:
        return [part.zfill(4) if part.isdigit() else part for part in re.split(r"(\d+)", name)]

    pages = FOLDER / "tables"
    found = {name: Member(pages, (group, name)) for name in tables.rows(pages, group)}
    found |= {
        path.relative_to(home / group).with_suffix("").as_posix(): Member(path)
        for home in homes(config_dir)
        for path in (home / group).rglob("*.yaml")
        if not path.name.startswith("_")
    }
    return {name: found[name] for name in sorted(found, key=natural)}


def copied(name: str, folder: Path) -> tuple[Path, str]:
    """Copies a member into a folder of one's own, to be changed.

    Args:
        name: of the member; where several groups have one of that name, of the method; or
            `group/name`.
        folder: made if need be.

    Returns:
        The file, and how it is chosen: `strategy=my_er`.

    Raises:
        ValueError: no such member, or a copy that is there.
    """
    first, _, rest = name.partition("/")
    ways = [(group, name) for group in dict.fromkeys(["strategy", *groups()])] + [(first, rest)]
    group, chosen = next((way for way in ways if way[1] in members(way[0])), ("", ""))
    if not group:
        raise ValueError(f"--copy {name}: there is no such member; lifelong list names them")
    source = members(group)[chosen]
    own = folder / group / f"my_{chosen.rpartition('/')[2]}.yaml"
    if own.exists():
        raise ValueError(f"{own}: is there already; remove it, or copy into another folder")
    own.parent.mkdir(parents=True, exist_ok=True)
    write_text(own, source.text())
    return own, f"{group}={own.stem}"


def main(arguments: Sequence[str]) -> int:
    """Prints groups or members; gives the exit status."""
    return command(lambda: _listed(arguments))


def _listed(arguments: Sequence[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    given = parse(arguments, OPTIONS)
    own = given["config_dir"]
    if own is not None and not Path(own).is_dir():
        raise ValueError(f"config_dir={own}: is no folder")
    if not given[""]:
        for group in groups(own):
            print(f"{group:<12} {len(members(group, own))} members")
        return 0
    first, *words = given[""]
    group = PLURALS.get(first, first if first in groups(own) else first.removesuffix("s"))
    if group not in groups(own):
        raise ValueError(f"{first}: there is no such group; give {', '.join(groups(own))}")
    lines = {name: member.summary() for name, member in members(group, own).items()}
    chosen = {
        name: line
        for name, line in lines.items()
        if all(word.lower() in f"{name} {line}".lower() for word in words)
    }
    if not chosen:
        raise ValueError(f"{' '.join(words)}: no member of {group} has these words")
    width = max(map(len, chosen)) + 2
    for name, line in chosen.items():
        print(f"{name:<{width}}{line}".rstrip())
    return 0
