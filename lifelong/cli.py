"""The command `lifelong`: run, evaluate, export, compare, report, list, reproduce, completion.

All take option=value; `lifelong <command> --help` says more.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lifelong import errors

COMMANDS = {
    "run": "an experiment, or with -m many: strategy=lasem_hps data=cifar100",
    "evaluate": "a run's network after any visit: run=outputs/...",
    "export": "a run for other programs: outputs/... folder",
    "compare": "runs side by side, averaged over seeds: outputs",
    "report": "a run's page and figures, made anew: outputs/...",
    "list": "groups and their members: experiments tag cub",
    "reproduce": "rows of a paper's tables beside what it published: tag/cifar100_er seeds=1,2,3",
    "completion": "of this command in bash, zsh or fish",
}


def program() -> None:
    """What the command `lifelong` calls."""
    errors.program(main)


def main() -> None:
    """Hands on to the command that is named first."""
    name, *rest = sys.argv[1:] or ["--help"]
    sys.exit(errors.command(lambda: _main(name, rest)))


def _main(name: str, rest: Sequence[str]) -> int:
    if name in ("-h", "--help", "help"):
        print("lifelong: experiments in lifelong learning\n")
        print("\n".join(f"    lifelong {each:<11} {what}" for each, what in COMMANDS.items()))
        print("\nlifelong <command> --help says more; lifelong --version its version.")
        return 0
    if name == "--version":
        from lifelong import __version__

        print(__version__)
        return 0
    if name not in COMMANDS:
        from lifelong.configuration.mistakes import near

        meant = near(name, COMMANDS) or f"; give {', '.join(COMMANDS)}"
        raise ValueError(f"{name}: there is no such command{meant}")
    sys.path.append(str(Path.cwd()))  # where a person's own classes are, as under `python -m`
    return _command(name)(rest)


def _command(name: str) -> Callable[[Sequence[str]], int]:
    """Imported when it is asked for: some need torch, and others should answer at once."""
    if name == "run":
        return _run
    if name == "evaluate":
        from lifelong.finished.evaluate import main as found
    elif name == "export":
        from lifelong.finished.export import main as found
    elif name == "compare":
        from lifelong.comparison.compare import main as found
    elif name == "report":
        from lifelong.report.page import main as found
    elif name == "list":
        from lifelong.configuration.members import main as found
    elif name == "reproduce":
        from lifelong.sweeps.reproduce import main as found
    else:
        from lifelong.configuration import completion

        return lambda rest: completion.main(rest, list(COMMANDS))
    return found


def _run(rest: Sequence[str]) -> int:
    """An experiment; `--copy MEMBER FOLDER` copies a member to be changed in its place."""
    from lifelong import run

    if rest and rest[0] == "--copy":
        return _copy(rest[1:])
    sys.argv = [f"{sys.argv[0]} run", *rest]
    run.main()  # which ends the process
    return 0


def _copy(arguments: Sequence[str]) -> int:
    from lifelong.configuration.members import copied

    if len(arguments) != 2:
        raise ValueError("--copy: give a member and a folder, such as --copy er my_conf")
    path, choice = copied(arguments[0], Path(arguments[1]))
    print(f"written: {path}; change it, and: lifelong run --config-dir {arguments[1]} {choice}")
    return 0


if __name__ == "__main__":
    program()
