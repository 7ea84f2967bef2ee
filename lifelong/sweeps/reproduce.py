"""Rows of a paper's tables, run over seeds and put beside what was published.

`lifelong reproduce tag/cifar100_er seeds=1,2,3 [out=outputs/reproduced] [OVERRIDE ...]` runs
`experiment=tag/cifar100_er` with each seed, goes on with what an earlier call left, and compares:
our mean and deviation, the paper's, and their difference. Several rows may be given.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lifelong.configuration.arguments import Argument, parse
from lifelong.configuration.members import members
from lifelong.configuration.mistakes import near
from lifelong.errors import command

OPTIONS = {
    "seeds": Argument("of the runs", "1", many=True),
    "out": Argument("folder of the runs", "outputs/reproduced", folder=True),
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
    if not given[""]:
        raise ValueError("ROW: give one or more, such as tag/cifar100_er; --help says more")
    out = Path(given["out"])
    for row in given[""]:
        seeds = ",".join(given["seeds"])
        options = [f"experiment={row}", f"seed={seeds}", f"paths.output_dir={out / row}"]
        asked = [sys.executable, "-m", "lifelong.run", "-m", *options, *overrides]
        status = subprocess.run(asked, check=False).returncode
        if status:
            return status
    from lifelong.comparison.compare import main as compare

    return compare([*(str(out / row) for row in given[""]), f"out={out}", "against=paper"])
