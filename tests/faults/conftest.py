"""Counts of what was tried and of what went wrong, as one table at the end of `make faults`."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Tally = Callable[..., None]

ROWS = {  # what is done, and what is right
    "kills": ("runs of every strategy killed at a random moment", "bit for bit as not killed"),
    "sweeps": ("sweeps killed at a random moment, all processes at once", "the same tables"),
    "searches": ("searches killed at a random moment, all processes at once", "the same points"),
    "tensors": ("tensors of killed and resumed runs", "bit for bit as not killed"),
    "bits": ("flipped bits in files that are read", "refused by name, made anew, or no change"),
    "hostile": ("targets in a stranger's config.yaml that do something", "not run"),
    "malformed": ("malformed inputs and damaged run folders", "status 0 or 2, nothing touched"),
    "tracebacks": ("of them with a traceback on the terminal", "none"),
    "hangs": ("of them that took over 10 s", "none"),
    "full": ("commands on a disk that fills up", "one line; whole or not; resumed as without"),
    "cache": ("runs, four at a time, on one empty cache, some killed", "right images, no refusal"),
    "folder": ("second commands in a folder in use", "refused with process and host"),
    "leftovers": ("folders looked at after kills and full disks", "no half-written file"),
}
TRIED, WRONG = "tried", "wrong"
counts: Counter[tuple[str, str]] = Counter()


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Counts `tried` of a row, and `wrong` ones of them; a test that fails is one wrong more."""

    def count(row: str, tried: int = 1, wrong: int = 0) -> None:
        assert row in ROWS
        request.node.user_properties.append((TRIED, row, tried))
        request.node.user_properties.append((WRONG, row, wrong))

    return count


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when != "call":
        return
    found: list[tuple[Any, ...]] = [entry for entry in report.user_properties if len(entry) == 3]
    for kind, row, number in found:
        counts[row, kind] += number
    if report.failed and found and not any(n for kind, _, n in found if kind == WRONG):
        counts[found[0][1], WRONG] += 1


def table() -> str:
    """What was tried, in Markdown."""
    lines = ["| what | tried | wrong | right is |", "|---|--:|--:|---|"]
    for row, (what, right) in ROWS.items():
        if counts[row, TRIED]:
            numbers = f"{counts[row, TRIED]:,} | {counts[row, WRONG]:,}"
            lines.append(f"| {what} | {numbers} | {right} |")
    return "\n".join(lines)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):  # one of several, which knows a part
        return
    if any(kind == TRIED for _, kind in counts):
        terminalreporter.write_line(f"\n{table()}\n")
        if os.environ.get("FAULTS_TABLE"):
            write(Path(os.environ["FAULTS_TABLE"]))


def write(page: Path) -> None:
    """Puts the table between the two marks of a page."""
    old = page.read_text(encoding="utf-8")
    before, mark, rest = old.partition("<!-- figures -->\n")
    _, end, after = rest.partition("<!-- /figures -->")
    page.write_text(f"{before}{mark}{table()}\n{end}{after}", encoding="utf-8")
