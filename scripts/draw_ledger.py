"""Draws the tables and curves of results/ into REPRODUCIBILITY.md and the pages of methods.

    python scripts/draw_ledger.py           # writes what lies between the marks of each page
    python scripts/draw_ledger.py --check   # writes nothing; 1 if a page is not as results/ says

A page says which rows it wants, by all words of a mark, whose values are patterns:

    <!-- results: strategy=er curves -->
    <!-- end of results -->

`row=` is the name, any other word a group of the configuration. With `curves` those of the rows on
digits are drawn beside fine-tuning and all tasks at once, into docs/methods/curves/<page>.svg.
With `coverage` there is a line for each stream of those rows: how many have published figures, how
many of these were run, and what the others would take.
"""

from __future__ import annotations

import math
import re
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lifelong.comparison import curves, ledger
from lifelong.comparison.ledger import published_figures
from lifelong.comparison.statistics import PUBLISHED_SEEDS
from lifelong.comparison.tables import column
from lifelong.configuration import tables
from lifelong.sweeps.todo import todo

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "REPRODUCIBILITY.md", *sorted((ROOT / "docs" / "methods").glob("*.md"))]
BLOCK = re.compile(r"(<!-- results: ([^>]*) -->\n).*?(<!-- end of results -->)", re.DOTALL)
MOST = 20  # visits of which each has a mark
GREY = {"fine-tuning": ":", "backpropagation": ":", "all tasks at once": "--"}  # drawn beside all
COVERAGE = ("rows", "published", "run in full", "reduced", "hours of the others")
HEADS = (
    "`experiment=`", "figure", "ours", "seeds", "published", "verdict", "minutes", "extent",
)  # fmt: skip


@dataclass(frozen=True)
class Stream:
    """Rows that share a picture: those whose names begin alike.

    Attributes:
        title: of the picture.
        rows: begin of their names.
        beside: ends of the names that stand in every picture.
        kind: of the curves.
    """

    title: str
    rows: str
    beside: tuple[str, ...]
    kind: str = "seen"


STREAMS = (
    Stream("digits, the task given", "digits/task_", ("finetune", "joint")),
    Stream("digits, the task not given", "digits/class_", ("finetune", "joint")),
    Stream("permuted MNIST, when learned", "field/permuted_", ("finetune",), "learned"),
)
Panel = tuple[str, dict[str, list[list[float]]]]  # title; curves of all seeds by label


def main(arguments: Sequence[str]) -> int:
    """Draws, or compares; gives the exit status."""
    found, check, status = Results(), "--check" in arguments, 0
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        after = found.drawn(before, page, check)
        if check and after != before:
            print(f"{page.name}: is not as results/ says; python scripts/draw_ledger.py")
            status = 1
        elif after != before:
            page.write_text(after, encoding="utf-8")
            print(f"written: {page.relative_to(ROOT)}")
    return status


class Results:
    """What lies in results/, and what its rows choose."""

    def __init__(self) -> None:
        self.lines = ledger.read(ROOT / "results" / "ledger.csv")
        self.curves = curves.read(ROOT / "results" / curves.NAME)
        self.rows = tables.rows(ROOT / "conf" / "tables")

    def drawn(self, text: str, page: Path, check: bool) -> str:
        """A page with what its marks ask for."""

        def block(found: re.Match[str]) -> str:
            words = found[2].split()
            wanted = dict(word.split("=", 1) for word in words if "=" in word)
            parts = []
            panels = list(self.panels(wanted)) if "curves" in words else []
            if panels:
                path = page.parent / "curves" / f"{page.stem}.svg"
                parts.append(f"![{caption(panels)}](curves/{path.name})")
                if not check:
                    draw(panels, path)
            lines = [line for line in self.lines if self.fits(line["row"], wanted)]
            if "coverage" in words:
                parts.append(self.coverage(wanted))
            elif lines:
                parts.append(table(lines))
            return "\n\n".join([found[1].rstrip("\n"), *parts, found[3]])

        return BLOCK.sub(block, text)

    def fits(self, row: str, wanted: dict[str, str]) -> bool:
        """Whether a row is one of those that a page wants."""
        config = self.rows[row]["config"] if row in self.rows else {}  # a row of one's own
        chosen = {"row": row} | tables.chosen(config)
        return all(
            any(fnmatchcase(chosen.get(key, ""), one) for one in patterns.split(","))
            for key, patterns in wanted.items()
        )

    def coverage(self, wanted: dict[str, str]) -> str:
        """What of the published tables was run, stream by stream, and what is left would take."""
        configs = {row: self.rows[row]["config"] for row in self.rows if self.fits(row, wanted)}
        published = (row for row in configs if published_figures(configs[row].get("published")))
        streams, times = dict[str, Counter[str]](), self.times(configs)
        for row in published:
            count = streams.setdefault(self.rows[row]["stream"], Counter())
            extent = self.extent(row)
            count.update(["rows", extent])
            if extent != "full" and row in times:
                device, seconds = times[row]
                count.update({"timed": 1, device: round(seconds)})
        total = sum(streams.values(), Counter[str]())
        rows = [self.share(f"`{stream}_*`", count) for stream, count in sorted(streams.items())]
        return markdown(COVERAGE, [*rows, self.share("all", total)])

    def extent(self, row: str) -> str:
        """Whether a row was run: `full`, `reduced` or `left`."""
        run = {line["extent"] for line in self.lines if line["row"] == row and line["seeds"]}
        return "full" if "full" in run else "reduced" if run else "left"

    def times(self, configs: dict[str, Any]) -> dict[str, tuple[str, float]]:
        """What a run of each row takes, and of what; its own times before those of others."""
        timed = [
            (each.how not in ("like", "over"), name, each.row, each.seconds)
            for name, device in (("GPU", "gpu"), ("core", "cpu"))
            for each in todo(configs, self.lines, [0], device) if each.seconds is not None
        ]  # fmt: skip
        timed.sort(key=lambda each: each[0])  # of several, the last one stays
        return {row: (name, seconds) for _, name, row, seconds in timed}

    @staticmethod
    def share(stream: str, count: Counter[str]) -> list[str]:
        """A line of the coverage."""
        others = count["rows"] - count["full"]
        spent = [f"{count[each] / 3600:.1f} of a {each}" for each in ("core", "GPU") if count[each]]
        hours = ", ".join(spent) or "not timed"
        if spent and count["timed"] < others:
            hours += f" for {count['timed']} of {others}"
        if not others:
            hours = "-"
        return [stream, *(str(count[name]) for name in ("rows", "full", "reduced")), hours]

    def panels(self, wanted: dict[str, str]) -> Iterator[Panel]:
        """A picture for each stream that has such rows."""
        known = list(dict.fromkeys(line["row"] for line in self.curves))
        for stream in STREAMS:
            rows = [row for row in known if row.startswith(stream.rows) and self.fits(row, wanted)]
            if rows:
                others = [stream.rows + name for name in stream.beside]
                rows += [row for row in others if row not in rows]
                yield stream.title, {self.label(row): self.of(row, stream.kind) for row in rows}

    def label(self, row: str) -> str:
        """A row's title without its stream."""
        title = str(self.rows[row]["title"])
        return title.partition("given, ")[2] or title.rpartition(", ")[2]

    def of(self, row: str, kind: str) -> list[list[float]]:
        """The curves of the runs of a row that is not changed."""
        lines = [line for line in self.curves if line["row"] == row and not line["changed"]]
        return [list(map(float, line[kind].split())) for line in lines]


def table(lines: Sequence[ledger.Line]) -> str:
    """Figures of the ledger, ours beside those published."""
    ordered = sorted(lines, key=lambda line: (line["row"], line["changed"], line["metric"]))
    return markdown(HEADS, map(cells, ordered))


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table."""
    lines = (heads, ["---"] * len(heads), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cells(line: ledger.Line) -> list[str]:
    """A line of the ledger as a line of a table."""
    pairs = ((line["ours"], line["deviation"]), (line["published"], line["published_deviation"]))
    ours, theirs = (f"{mean} +- {spread}" if spread else mean or "-" for mean, spread in pairs)
    verdict = line["verdict"] if line["published"] and line["verdict"] else "-"
    if line["tolerance"]:
        verdict += f" ({float(line['difference']):+.3g}, allowed {line['tolerance']}{errors(line)})"
    on = "" if line["device"] == "cpu" else f", {line['device']}"
    return [
        f"`{line['row']}`", column(line["metric"]).heading, ours, line["seeds"] or "-", theirs,
        verdict, f"{float(line['seconds']) / 60:.1f}{on}",
        line["extent"] + (f": `{line['changed']}`" if line["changed"] else ""),
    ]  # fmt: skip


def errors(line: ledger.Line) -> str:
    """The difference in joint standard errors of the two means, where both deviations are known."""
    if not line["deviation"] or not line["published_deviation"]:
        return ""
    own = float(line["deviation"]) / math.sqrt(len(line["seeds"].split(",")))
    joint = math.hypot(own, float(line["published_deviation"]) / math.sqrt(PUBLISHED_SEEDS))
    return f", {float(line['difference']) / joint:+.1f} s.e." if joint else ""


def caption(panels: Sequence[Panel]) -> str:
    """What a figure shows, in words."""
    told = []
    for title, rows in panels:
        seeds = max(map(len, rows.values()))
        told.append(f"{title} ({seeds} seed{'s' * (seeds > 1)}): {', '.join(rows)}")
    return "; ".join(told)


def draw(panels: Sequence[Panel], path: Path) -> None:
    """A picture for each stream, a curve for each row, the deviation of its seeds as a band."""
    import matplotlib

    matplotlib.use("Agg")
    matplotlib.rcParams.update({"svg.hashsalt": "lifelong", "svg.fonttype": "none", "font.size": 9})
    import matplotlib.pyplot as plt

    size = (4.6 * len(panels), 3)
    figure, axes = plt.subplots(1, len(panels), figsize=size, squeeze=False, layout="constrained")
    for axis, (title, rows) in zip(axes[0], panels, strict=True):
        for place, (label, runs) in enumerate(rows.items()):
            curve(axis, label, runs, f"C{place}")
        axis.set(title=title, xlabel="tasks learned", ylabel="accuracy, %")
        axis.grid(alpha=0.25)
        axis.legend(frameon=False, fontsize=8)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    plt.close(figure)


def curve(axis: Any, label: str, runs: Sequence[Sequence[float]], color: str) -> None:
    """The mean of some runs and their deviation."""
    if not runs:
        return
    beside = label in GREY
    color = "0.55" if beside else color
    at_each = list(zip(*runs, strict=True))
    if math.isnan(at_each[0][0]):  # learned at once, and measured at the end
        at_each = [at_each[-1]] * len(at_each)
    # Visits that tested their own task alone have no mean of the tasks seen.
    tasks = [task for task, values in enumerate(at_each, 1) if not any(map(math.isnan, values))]
    at_each = [at_each[task - 1] for task in tasks]
    mean = [statistics.fmean(values) for values in at_each]
    spread = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in at_each]
    marker = "o" if len(mean) <= MOST and not beside else ""
    line = GREY.get(label, "-")
    axis.plot(tasks, mean, label=label, color=color, linestyle=line, marker=marker, markersize=3)
    low = [max(m - s, 0.0) for m, s in zip(mean, spread, strict=True)]
    high = [min(m + s, 100.0) for m, s in zip(mean, spread, strict=True)]
    axis.fill_between(tasks, low, high, color=color, alpha=0.15, linewidth=0)
    if len(mean) <= MOST:
        axis.set_xticks(tasks)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
