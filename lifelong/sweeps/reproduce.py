"""Rows of a paper's tables, run over seeds and put beside what was published.

`lifelong reproduce tag/cifar100_er seeds=1,2,3 [out=outputs/reproduced] [OVERRIDE ...]` runs
`experiment=tag/cifar100_er` with each seed, goes on with what an earlier call left, and compares:
our mean and deviation, the paper's, their difference, and whether it is within the tolerance that
both deviations give. Several rows may be given. The verdicts go into a ledger, `ledger=FILE`, by
default ledger.csv in the folder `out`; runs on other seeds join those that it has.

`lifelong reproduce from=FOLDER,FOLDER ledger=FILE` runs nothing, and takes the finished runs of
rows below some folders into a ledger.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lifelong.comparison.groups import grouped
from lifelong.comparison.ledger import lines, record, told
from lifelong.comparison.ledger import read as read_ledger
from lifelong.comparison.runs import read
from lifelong.configuration.arguments import Argument, parse
from lifelong.configuration.members import members
from lifelong.configuration.mistakes import near
from lifelong.errors import command, plain

OPTIONS = {
    "seeds": Argument("of the runs", "1", many=True),
    "out": Argument("folder of the runs", "outputs/reproduced", folder=True),
    "ledger": Argument("file of the verdicts; by default ledger.csv in the folder of the runs"),
    "from": Argument("folders with finished runs: nothing is run", many=True),
}


def main(arguments: Sequence[str]) -> int:
    """Runs and compares; gives the exit status."""
    return command(lambda: _reproduced(arguments))


def _reproduced(arguments: Sequence[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    own = [text for text in arguments if text.partition("=")[0] in OPTIONS or "=" not in text]
    overrides = [text for text in arguments if text not in own]
    given = parse(own, OPTIONS)
    known = members("experiment")
    for row in given[""]:
        if row not in known:
            meant = near(row, known) or "; lifelong list experiments names them"
            raise ValueError(f"{row}: there is no such row{meant}")
    if bool(given[""]) == bool(given["from"]):
        raise ValueError("ROW: give one or more, such as tag/cifar100_er, or from=FOLDER; --help")
    out = Path(given["out"])
    ledger = Path(given["ledger"] or out / "ledger.csv").expanduser()
    if given["from"]:
        _check_alone(arguments)
        return _recorded([Path(text).expanduser() for text in given["from"]], ledger)
    read_ledger(ledger)  # which refuses another table before hours of work
    for row in given[""]:
        seeds = ",".join(given["seeds"])
        options = [f"experiment={row}", f"seed={seeds}", f"paths.output_dir={out / row}"]
        asked = [sys.executable, "-m", "lifelong.run", "-m", *options, *overrides]
        status = subprocess.run(asked, check=False).returncode
        if status:
            return status
    from lifelong.comparison.compare import main as compare

    status = compare([*(str(out / row) for row in given[""]), f"out={out}", "against=paper"])
    return status or _recorded([out / row for row in given[""]], ledger)


def _check_alone(arguments: Sequence[str]) -> None:
    """Refuses beside `from=` what is for runs."""
    idle = [each for each in arguments if each.partition("=")[0] not in ("from", "ledger", "out")]
    if idle:
        raise ValueError(f"{idle[0]}: has no effect beside from=, which runs nothing")


def _recorded(folders: Sequence[Path], ledger: Path) -> int:
    """Takes finished runs into a ledger, and tells the verdicts."""
    runs, _, damaged = read(folders)
    found = record(ledger, lines(grouped(runs)))
    if not found:
        raise ValueError(f"{folders[0]}: holds no finished run of a row with published figures")
    for line in found:
        print(plain(told(line)))
    for why in damaged.values():
        print(plain(f"left out: {why}"), file=sys.stderr)
    print(f"written: {ledger}")
    return 0
