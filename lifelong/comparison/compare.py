"""`lifelong compare FOLDER...`: runs side by side, averaged over seeds."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress

from lifelong.comparison.groups import Group, best, curves, grouped, is_number, refer, tables
from lifelong.comparison.runs import Run, read
from lifelong.comparison.tables import Grid, grids, latex, markdown, tidy
from lifelong.configuration.arguments import Argument, parse
from lifelong.configuration.arguments import page as page_of_help
from lifelong.configuration.stored import SEEDS
from lifelong.errors import command, plain
from lifelong.storage.files import write_bytes, write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


# Names of figures, of which those of an earlier comparison are removed.
MADE = re.compile(
    r"accuracy_(along_stream|matrices)(_class|_task)?(_\d+)?|critical_difference|"
    r"accuracy_against_(forgetting|time|parameters|bytes|multiply_adds)(_\d+)?"
)


def compare(
    folders: Sequence[Path],
    out: Path,
    by: Sequence[str] = (),
    only_best: bool = False,
    against_paper: bool = False,
    references: Sequence[Path] = (),
    columns: Sequence[str] = (),
    pdf: bool = False,
) -> tuple[str, list[Path], list[Path], dict[Path, str]]:
    """Writes comparison.md, .csv, .tex and .html and the figures of the runs below some folders.

    Args:
        folders: that hold runs, at any depth.
        out: where the files go.
        by: see `grouped`.
        only_best: see `best`.
        against_paper: put published figures beside ours.
        references: folders with runs to refer to, see `refer`.
        columns: of the tables, see `grids`.
        pdf: also draw the figures as PDF.

    Returns:
        The tables as Markdown, the files written, the folders of unfinished runs, and of damaged
        ones what is wrong.

    Raises:
        ValueError: no runs, or runs that are not to be averaged.
    """
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading runs")
        runs, unfinished, damaged = read(
            folders, lambda done, total: progress.update(task, completed=done, total=total)
        )
        _check_some(folders, runs, unfinished, damaged)
        if references:
            others, open_ones, wrong = read(references)
            _check_some(references, others, open_ones, wrong, "reference=")
            refer(runs, grouped(others))
        groups = grouped(runs, by)
        if only_best:
            groups = best(groups)
        found = grids(groups, against_paper, columns)
        text = markdown(found)
        written = {"md": text, "csv": tidy(groups, columns), "tex": latex(found)}
        for ending, content in written.items():
            write_text(out / f"comparison.{ending}", content)
        files = [out / f"comparison.{ending}" for ending in written]
        left_out = len(unfinished) + len(damaged)
        files.append(_page(out, groups, found, len(runs), left_out, pdf))
        if references:
            unfinished = [*dict.fromkeys([*unfinished, *open_ones])]
            damaged |= wrong
    return text, files, unfinished, damaged


def _check_some(
    folders: Sequence[Path],
    runs: Sequence[Run],
    unfinished: Sequence[Path],
    damaged: Mapping[Path, str],
    option: str = "",
) -> None:
    if not runs:
        raise ValueError(
            f"{option}{folders[0]}: holds no finished run, {len(unfinished) + len(damaged)} others"
            + "".join(f"; {why}" for why in list(damaged.values())[:1])
        )


def _page(
    out: Path, groups: Sequence[Group], found: Sequence[Grid], runs: int, unfinished: int, pdf: bool
) -> Path:
    from lifelong.comparison import ranks
    from lifelong.comparison.figures import comparison_figures
    from lifelong.comparison.page import page
    from lifelong.drawing import image

    folder = out / "comparison_figures"
    former = {path for path in folder.glob("*.p[nd][gf]") if MADE.fullmatch(path.stem)}

    def drawn_as(name: str, figure: Figure) -> bytes:
        made = image(figure)
        former.difference_update(folder / f"{name}.{kind}" for kind in ("png", *["pdf"] * pdf))
        write_bytes(folder / f"{name}.png", made)
        if pdf:
            write_bytes(folder / f"{name}.pdf", image(figure, "pdf"))
        return made

    pictures, above = [], list[tuple[str, bytes]]()
    for number, (_, some) in enumerate(tables(groups)):
        ending = f"_{number + 1}" if len(found) > 1 else ""
        made = comparison_figures(some)
        pictures.append({name: drawn_as(name + ending, made[name]) for name in made})
    order = ranks.of_groups(groups)
    if order is not None:
        figure = ranks.critical_difference(order)
        above.append((ranks.told(order), drawn_as("critical_difference", figure)))
    for path in former:  # of an earlier comparison
        path.unlink(missing_ok=True)
    about = f"{runs} finished runs"
    if unfinished:
        about += f", {unfinished} unfinished or damaged ones left out"
    write_text(out / "comparison.html", page(found, pictures, about, above))
    return out / "comparison.html"


OPTIONS = {
    "out": Argument("where the files go; by default the first folder", folder=True),
    "by": Argument(
        "options that tell groups of a method apart, KEY,KEY; by default all; refused if others "
        "differ, too", many=True,
    ),
    "best": Argument("of each method only the options of the best final accuracy", "false"),
    "against": Argument("put published figures and differences beside ours", values=("paper",)),
    "reference": Argument(
        "folders of runs of joint or single_task: intransigence and knowledge transfer", many=True,
        folder=True,
    ),
    "columns": Argument(
        "of the tables, in this order, such as final,forgetting,seconds; by default all", many=True
    ),
    "pdf": Argument("also draw the figures as PDF, for a paper", "false"),
    "figure": Argument("only draw accuracy and forgetting against this option"),
}  # fmt: skip
_HEAD = """\
lifelong compare FOLDER...

The finished runs below some folders side by side, averaged over seeds: tables (printed, and as
comparison.md, .csv, .tex), figures, and a page, comparison.html.
"""


def main(arguments: Sequence[str]) -> int:
    """Prints the tables and writes the files; the exit status is 2 for a mistake."""
    if {"-h", "--help"} & set(arguments):
        print(page_of_help(_HEAD, OPTIONS))
        return 0
    return command(lambda: _compared(parse(arguments, OPTIONS)))


def _compared(given: dict[str, Any]) -> int:
    folders = [Path(text) for text in given[""]]
    if not folders:
        raise ValueError("FOLDER: give one or more that hold runs; --help lists all")
    out = folders[0] if given["out"] is None else Path(given["out"])
    by, references = given["by"] or [], [Path(text) for text in given["reference"] or []]
    others = by or given["best"] or given["against"] or references or given["columns"]
    if given["figure"] and others:
        raise ValueError(
            "figure: draws all runs; leave out by, best, against, reference and columns"
        )
    if given["figure"]:
        text, files = "", list[Path]()
        path, unfinished, damaged = _against_option(folders, given["figure"], out, given["pdf"])
        print(f"figure: {path}")
    else:
        text, files, unfinished, damaged = compare(
            folders, out, by, given["best"], given["against"] == "paper", references,
            given["columns"] or [], given["pdf"],
        )  # fmt: skip
        print(plain(text))
    for folder in unfinished:
        print(plain(f"not finished: {folder}"), file=sys.stderr)
    for why in damaged.values():
        print(plain(f"left out: {why}"), file=sys.stderr)
    if files:
        print(f"written: {', '.join(map(str, files))}")
    return 0


def _against_option(
    folders: Sequence[Path], option: str, out: Path, pdf: bool
) -> tuple[Path, list[Path], dict[Path, str]]:
    """Draws the figure; gives its file, and the runs that are not in it as `read` does."""
    from lifelong.drawing import image
    from lifelong.report.figures import against_option

    runs, unfinished, damaged = read(folders)
    _check_some(folders, runs, unfinished, damaged)
    if option in SEEDS:
        raise ValueError(f"figure={option}: runs are averaged over it; give another option")
    groups = grouped(runs)
    others = [group for group in groups if not is_number(group.options.get(option))]
    if len(others) == len(groups):
        raise ValueError(f"figure={option}: no run has a number there; table and page name options")
    for group in others:
        said = f"{group.label}: {option} is {group.options.get(option)}"
        print(plain(f"left out: {said}, no number"), file=sys.stderr)
    figure = against_option(curves(groups, option), option)
    name, kind = re.sub(r"[^\w.-]", "_", option), "pdf" if pdf else "png"
    path = out / f"against_{name}.{kind}"
    write_bytes(path, image(figure, kind))
    return path, unfinished, damaged
