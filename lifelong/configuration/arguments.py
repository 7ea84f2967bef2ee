"""Arguments of commands beside `run`: folders, and option=value.

The forms of version 0.1, such as `--by lr`, are read for one release, with a line that says the new
one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from lifelong.errors import EMPTY


@dataclass(frozen=True)
class Argument:
    """An option of a command.

    Attributes:
        what: it is for, for the page of help.
        default: a text where nothing is given; `true` or `false` for a switch.
        values: those that it takes; None for any.
        number: whether it is a whole number, 1 or more.
        many: whether it is a list, given with commas.
        folder: whether it is a path, or a list of them; of one's home with `~`.
    """

    what: str
    default: str | None = None
    values: tuple[str, ...] | None = None
    number: bool = False
    many: bool = False
    folder: bool = False

    @property
    def switch(self) -> bool:
        """Whether it is either on or off."""
        return self.default in ("true", "false")

    def of(self, name: str, text: str) -> Any:
        """The value that a text stands for.

        Raises:
            ValueError: a text that stands for none.
        """
        if not text.strip():
            raise ValueError(f"{name}=: {EMPTY if self.folder else 'is empty; give a value'}")
        known = ("true", "false") if self.switch else self.values
        if known is not None and text not in known:
            raise ValueError(f"{name}={text}: give {' or '.join(known)}")
        if self.number and not (text.isdecimal() and int(text)):
            raise ValueError(f"{name}={text}: give a whole number, 1 or more")
        if self.many:
            parts = [part for part in text.split(",") if part]
            return [at_home(part) for part in parts] if self.folder else parts
        if self.folder:
            return at_home(text)
        return text == "true" if self.switch else int(text) if self.number else text


def parse(
    arguments: Sequence[str],
    known: Mapping[str, Argument],
    places: Sequence[str] = (),
    others: bool = False,
) -> dict[str, Any]:
    """The values of all options of a command, and under "" what else stands there.

    Args:
        arguments: of the command.
        known: its options.
        places: options that are given by their place, too: texts without a sign of equality.
        others: whether options of other commands may stand there, too.

    Folders of a sweep are called `seed=1` and the like: what is there is no option.

    Raises:
        ValueError: an unknown option, or a value that it does not take.
    """
    found: dict[str, Any] = {
        name: None if option.default is None else option.of(name, option.default)
        for name, option in known.items()
    }
    rest: list[str] = []
    for text in _renewed(arguments, known):
        name, sign, value = text.partition("=")
        if sign and name in known:
            found[name] = known[name].of(name, value)
        elif sign and name.isidentifier() and not others and not os.path.exists(text):  # noqa: PTH110 (of any length)
            like = get_close_matches(name, known, 1, 0.6)
            ways = f"did you mean {like[0]}?" if like else f"give {', '.join(known)}"
            raise ValueError(f"{text}: there is no such option; {ways}")
        elif not text.strip():
            raise ValueError(f"an argument {EMPTY}")
        else:
            rest.append(at_home(text))
    for name in places:
        if rest and found[name] is None:
            found[name] = known[name].of(name, rest.pop(0))
    return {**found, "": rest}


def at_home(path: str) -> str:
    """A path whose `~` no shell has read: one between quotes, or behind a sign of equality.

    >>> at_home("a/~b"), at_home("~/b").startswith("~")
    ('a/~b', False)
    """
    return str(Path(path).expanduser()) if path == "~" or path.startswith("~/") else path


def _renewed(arguments: Sequence[str], known: Mapping[str, Argument]) -> list[str]:
    """Arguments with the forms of version 0.1, `--name value`, as name=value."""
    waiting, found = list(arguments), list[str]()
    while waiting:
        text = waiting.pop(0)
        name, sign, value = text.removeprefix("--").partition("=")
        if not text.startswith("-"):
            found.append(text)
            continue
        if not text.startswith("--") or name not in known:
            raise ValueError(f"unrecognized arguments: {text}; --help lists all")
        option = known[name]
        if not sign and option.switch:
            value = "true"
        elif not sign:
            taken = 1
            while option.many and taken < len(waiting) and not waiting[taken].startswith("-"):
                taken += 1
            if not waiting or waiting[0].startswith("--"):
                raise ValueError(f"{text}: expected one argument; give {name}=<value>")
            value, waiting = ",".join(waiting[:taken]), waiting[taken:]
        print(f"note: {text} is {name}={value} from the next release on", file=sys.stderr)
        found.append(f"{name}={value}")
    return found


def page(head: str, known: Mapping[str, Argument], tail: str = "") -> str:
    """The page of help of a command."""
    lines = []
    for name, option in known.items():
        value = option.default or ("N" if option.number else "..")
        value = "|".join(option.values) if option.values else value
        lines.append(f"    {f'{name}={value}':<24} {option.what}")
    return "\n".join([head.rstrip(), "", *lines, *(["", tail.strip()] if tail else [])])
