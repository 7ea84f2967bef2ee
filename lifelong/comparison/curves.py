"""How accuracy went along the stream: a CSV file beside the ledger, a line for each run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lifelong.comparison import ledger
from lifelong.comparison.groups import Group
from lifelong.comparison.ledger import Line, changes
from lifelong.comparison.runs import digest
from lifelong.measures.matrix import from_rows, mean_of_seen
from lifelong.storage.results import visited

COLUMNS = ("row", "changed", "seed", "options", "seen", "learned")
NAME = "curves.csv"


def beside(ledger: Path) -> Path:
    """The file that belongs to a ledger: two in a folder have two.

    >>> beside(Path("a/ledger.csv")).name, beside(Path("a/mine.csv")).name
    ('curves.csv', 'mine_curves.csv')
    """
    own = "" if ledger.name == "ledger.csv" else f"{ledger.stem}_"
    return ledger.with_name(f"{own}{NAME}")


def curves(groups: Iterable[Group]) -> list[Line]:
    """One for each run, of groups of `lifelong.comparison.ledger.of_rows`.

    `seen` is the mean accuracy of the tasks met so far after each visit, `learned` the accuracy of
    each visit's task right after it; both in %, asked as the run is, and NaN where not measured.
    """
    return [
        {
            "row": str(run.choices["experiment"]), "changed": changes(run.config),
            "seed": str(run.results["seed"]), "options": digest(run.options),
            **_curves(run.results),
        }
        for group in groups for run in group.runs
    ]  # fmt: skip


def _curves(results: dict[str, Any]) -> Line:
    matrix, visits = from_rows(results["accuracy"], len(results["tasks"])), visited(results)
    seen = mean_of_seen(matrix)
    learned = [row[task] for row, task in zip(matrix, visits, strict=False)]
    return {
        name: " ".join(f"{100 * value:.4g}" for value in values)
        for name, values in (("seen", seen), ("learned", learned))
    }


def read(path: Path) -> list[Line]:
    """The lines of the file; none where there is none.

    Raises:
        ValueError: another table.
    """
    return ledger.read_table(path, COLUMNS)


def record(path: Path, new: Sequence[Line], rows: Iterable[Line]) -> None:
    """Puts lines in, in place of those of the same run, and of a row as it was before.

    Args:
        path: of the file.
        new: lines of runs.
        rows: lines of the ledger; of other versions of these rows nothing is kept.
    """
    now: dict[tuple[str, str], set[str]] = {}
    for line in rows:
        now.setdefault(_row(line), set()).add(line["options"])
    kept = [
        line for line in (*read(path), *new)
        if line["options"] in now.get(_row(line), {line["options"]})
    ]  # fmt: skip
    found = {(*_row(line), int(line["seed"])): line for line in kept}
    if not found:
        return
    ledger.write(path, (found[key] for key in sorted(found)), COLUMNS)


def _row(line: Line) -> tuple[str, str]:
    return line["row"], line["changed"]
