"""The commands that README and the pages show: they run, or at least compose, as they stand."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lifelong.comparison import compare
from lifelong.configuration.compose import composed
from lifelong.configuration.members import members

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "REPRODUCIBILITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = re.compile(r"^ {4}(?:lifelong run|python -m lifelong\.run) (?P<words>(?:.*\\\n)*.*)$", re.M)
OPEN = re.compile(r"<|\.\.\.|\|| --|^--|search=|tag\(")  # to be filled in, or more than overrides
SHORT = ("epochs=1", "tasks=2", "logger=none", "trainer=cpu")


def shown() -> Iterator[Any]:
    """The overrides of each run that a page shows."""
    for page in PAGES:
        for found in RUN.finditer(page.read_text(encoding="utf-8")):
            text = re.sub(r"\s#\s.*$", "", found["words"].replace("\\\n", " "), flags=re.M).strip()
            if not OPEN.search(text):
                yield pytest.param(text, id=f"{page.name}: {text[:60]}")


@pytest.mark.parametrize("text", list(shown()))
def test_what_a_page_shows_composes(text: str) -> None:
    words = [word for word in shlex.split(text) if word != "-m"]
    swept = [word for word in words if word.split("=")[0] in ("strategy", "experiment", "seed")]
    ways = [[f"{w.partition('=')[0]}={v}" for v in w.partition("=")[2].split(",")] for w in swept]
    fixed = [word for word in words if word not in swept and not word.startswith("hydra/")]
    firsts = [way[0] for way in ways]
    others = [
        [*firsts[:k], value, *firsts[k + 1 :]] for k, way in enumerate(ways) for value in way[1:]
    ]
    for chosen in [firsts, *(each for each in others if "seed=1" in each or "seed" not in text)]:
        assert composed([*fixed, *chosen]).strategy is not None


def test_most_of_what_pages_show_is_tried() -> None:
    assert len(list(shown())) > 40


def block(title: str) -> list[str]:
    """The commands below a title of README, without what is said of them."""
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition(title)[2]
    found = re.findall(r"^ {4}(\S.*?)(?:\s+#.*)?$", text.partition("\n## ")[0], re.M)
    return [str(each) for each in found]


def test_the_sweep_and_the_table_of_the_first_page(
    command: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """As they stand but for the length of the runs; the first one needs images."""
    one, sweep, table = block("# lifelong")
    assert one.split()[:2] == sweep.split()[:2] == ["lifelong", "run"]
    _check_sweep(command(*sweep.split()[2:], *SHORT), tmp_path)
    monkeypatch.chdir(tmp_path)
    (folder,) = Path("outputs").glob("sweep_*")
    assert table.split() == ["lifelong", "compare", "outputs/sweep_..."]
    assert compare.main([str(folder)]) == 0
    out = capsys.readouterr().out
    assert all(f"| `{name}" in out for name in ("ewc", "er", "lasem_hps"))


@pytest.mark.slow
def test_the_sweep_of_the_first_page_as_it_stands(
    command: Callable[..., Any], tmp_path: Path
) -> None:
    _check_sweep(command(*block("# lifelong")[1].split()[2:]), tmp_path)


def _check_sweep(done: Any, folder: Path) -> None:
    assert done.returncode == 0, done.stderr
    assert "9 runs finished" in done.stdout
    assert len(list(folder.glob("outputs/sweep_*/*/report.html"))) == 9


def test_the_targets_and_rows_of_the_first_page_are_there() -> None:
    make = (ROOT / "Makefile").read_text(encoding="utf-8")
    for line in block("## Thirty seconds"):
        assert re.search(rf"^{line.removeprefix('make ')}:", make, re.M), line
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (row,) = re.findall(r"`lifelong reproduce (\S+) seeds=1,2,3`", text)
    assert row in members("experiment")
