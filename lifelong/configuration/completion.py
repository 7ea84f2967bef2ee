"""Completion in bash, zsh and fish: of commands, groups, members, and options.

eval "$(lifelong completion bash)"                       # in ~/.bashrc
eval "$(lifelong completion zsh)"                        # in ~/.zshrc
lifelong completion fish > ~/.config/fish/completions/lifelong.fish
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from lifelong.configuration.compose import FOLDER
from lifelong.configuration.members import PLURALS, config_dir_of, groups, members
from lifelong.errors import command

_REFERENCE = re.compile(r"\$\{[\w.]+\}")
SHELLS = {
    "bash": """\
_lifelong() {
    local line="${COMP_LINE:0:COMP_POINT}" word found
    word="${line##* }"
    mapfile -t found < <(lifelong completion words "$line" 2>/dev/null)
    if [[ "$word" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then
        found=("${found[@]#"${word%"${word##*=}"}"}")
    fi
    COMPREPLY=("${found[@]}")
    [[ ${#found[@]} == 1 && "${found[0]}" == *[=/.] ]] && compopt -o nospace
}
complete -o default -F _lifelong lifelong
""",
    "zsh": """\
_lifelong() {
    local -a found
    found=("${(@f)$(lifelong completion words "$LBUFFER" 2>/dev/null)}")
    compadd -Q -S '' -- $found
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _lifelong lifelong
""",
    "fish": """\
function __lifelong
    lifelong completion words (commandline -cp | string collect) 2>/dev/null
end
complete -c lifelong -f -a '(__lifelong)'
""",
}


def words(line: str, commands: Sequence[str]) -> list[str]:
    """What the last word of a command line may become.

    Args:
        line: up to the cursor.
        commands: names of all commands.
    """
    before = line.split()
    last = "" if not before or line[-1:].isspace() else before.pop()
    if len(before) < 2:
        return _beginning(last, commands) if before else []
    if before[1] == "list":
        return _beginning(last, [*PLURALS, *groups()]) if len(before) == 2 else []
    if before[1] not in ("run", "evaluate"):
        return []
    own = config_dir_of(before)
    key, sign, value = last.partition("=")
    if sign:
        *others, part = value.split(",")
        head = f"{key}=" + "".join(f"{other}," for other in others)
        known = [*members(key, own)] if key in groups(own) else _values(key)
        return [head + name for name in _beginning(part, known)]
    return _keys(last, before[2:], own)


def _beginning(start: str, names: Sequence[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(start)]


def _values(key: str) -> list[str]:
    """Of an option that takes some values alone."""
    from lifelong.configuration.complete import CHOICES

    return [str(value).lower() for value in CHOICES.get(key, ())]


def _keys(start: str, given: Sequence[str], own: str | None) -> list[str]:
    """Groups and options, and those of members once their group's name is there."""
    top = _of_text((FOLDER / "config.yaml").read_text(encoding="utf-8"))
    found = [f"{name}=" for name in groups(own)]
    for key, value in top.items():
        if key not in ("defaults", "hydra"):
            inside = value if isinstance(value, dict) and value else {"": None}
            found += [f"{key}.{name}=" if name else f"{key}=" for name in inside]
    group = start.partition(".")[0]
    if "." in start and group in groups(own):
        chosen = dict(text.partition("=")[::2] for text in given)
        chosen = {"strategy": "lasem_hps", "data": "digits"} | chosen
        found = [f"{group}.{name}=" for name in _options(group, chosen.get(group), own)]
    return _beginning(start, found)


def _options(group: str, member: str | None, own: str | None) -> list[str]:
    """Options of a member, and of those that it builds on."""
    chosen = members(group, own).get(member or "")
    if chosen is None:
        return []
    content = _of_text(chosen.text())
    found = content.get(group, {} if "@package _global_" in chosen.text() else content)
    names = [
        str(name)
        for name, value in found.items()
        if not (str(name).startswith("_") or name == "defaults" or _is_made(value))
    ]
    for entry in content.get("defaults", ()):
        if isinstance(entry, str) and entry != "_self_":
            names += _options(group, entry.split("@")[0].removeprefix("_"), own)
    return names


def _is_made(value: Any) -> bool:
    """Whether an option is not typed: it is built, or refers to another one."""
    return (
        "_target_" in value if isinstance(value, dict) else bool(_REFERENCE.fullmatch(str(value)))
    )


def _of_text(text: str) -> Mapping[str, Any]:
    found = yaml.safe_load(text)
    return found if isinstance(found, dict) else {}


def main(arguments: Sequence[str], commands: Sequence[str]) -> int:
    """Prints the script of a shell, or what a line may go on with; gives the exit status."""
    return command(lambda: _main(arguments, commands))


def _main(arguments: Sequence[str], commands: Sequence[str]) -> int:
    if len(arguments) == 2 and arguments[0] == "words":
        print("\n".join(words(arguments[1], commands)))
    elif len(arguments) == 1 and arguments[0] in SHELLS:
        print(SHELLS[arguments[0]], end="")
    elif {"-h", "--help"} & set(arguments):
        print(__doc__)
    else:
        raise ValueError(f"{' '.join(arguments) or 'completion'}: give {', '.join(SHELLS)}")
    return 0
