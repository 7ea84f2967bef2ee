"""comparison.html: one self-contained page of tables and figures, sortable, without a network."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape

from lifelong.comparison.tables import NOTE, PAIRED, Grid, tests
from lifelong.measures.metrics import caption_of
from lifelong.report import html

CAPTIONS = {
    "accuracy_along_stream": "Mean accuracy of the seen tasks after each task was learned; bands: "
    "95 % confidence interval over seeds (of up to eight rows).",
    "accuracy_against_forgetting": "Final accuracy against forgetting; bars: standard deviations; "
    "dotted, here and in the next: what no other beats in both.",
    "accuracy_against_time": "Final accuracy against the seconds of training.",
    "accuracy_against_parameters": "Final accuracy against the parameters kept at the end.",
    "accuracy_against_bytes": "Final accuracy against the bytes kept between tasks: network, "
    "memories, importances, teachers, masks, and an optimizer that lives as long as the stream.",
    "accuracy_against_multiply_adds": "Final accuracy against the multiply-adds of a step.",
    "accuracy_matrices": "Mean accuracy of each task (columns) after each task was learned (rows).",
}
_STYLE = """
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:110rem;
margin:0 auto;padding:1rem}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.1rem;margin:2.5rem 0 .5rem;overflow-wrap:anywhere}
p,figcaption{color:var(--soft);font-size:.9rem}
input{font:inherit;width:100%;max-width:24rem;padding:.4rem .6rem;border:1px solid var(--line);
border-radius:.4rem;background:var(--box);color:var(--ink)}
.wide{margin:.6rem 0}
table{border-collapse:collapse;font-size:.85rem;font-variant-numeric:tabular-nums}
th,td{padding:.3rem .7rem;text-align:right;white-space:nowrap;border-bottom:1px solid var(--line)}
th:first-child,td:first-child{text-align:left;position:sticky;left:0;background:var(--page);
max-width:60vw;white-space:normal;overflow-wrap:anywhere;min-width:9rem}th:first-child{z-index:2}
th{white-space:normal;vertical-align:bottom}th.words,td.words{text-align:left}
td small{display:block;color:var(--soft);font-size:.75rem}
th button{all:unset;cursor:pointer;font-weight:600}
th button:focus-visible{outline:2px solid #1f6fb4}
th[aria-sort=ascending] button::after{content:" \\2191"}
th[aria-sort=descending] button::after{content:" \\2193"}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr));gap:1rem}
summary{cursor:pointer;margin:.6rem 0}
figure{margin:0;max-width:60rem}img{width:100%;height:auto;background:#fff;border-radius:.5rem}
"""
_NUMBER = re.compile(r"[-+\d<]")
_SCRIPT = """
const compared = (a, b) => {
  const [x, y] = [parseFloat(a), parseFloat(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
};
for (const table of document.querySelectorAll("table.sorted")) {
  const body = table.tBodies[0];
  table.querySelectorAll("th").forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending";
      table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = row => row.cells[column].dataset.key;
      const rows = [...body.rows].sort((a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === undefined || y === undefined) return compared(a.cells[column].textContent,
          b.cells[column].textContent);
        if (x === "" || y === "") return (x === "") - (y === "");
        return (x - y) * (up ? 1 : -1);
      });
      if (rows.length && key(rows[0]) === undefined && !up) rows.reverse();
      body.append(...rows);
    });
  });
}
for (const input of document.querySelectorAll("input")) {
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\\s+/);
    for (const row of input.closest("section").querySelectorAll("tbody tr"))
      row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
  });
}
"""


def page(
    found: Sequence[Grid],
    pictures: Sequence[Mapping[str, bytes]],
    about: str,
    above: Sequence[tuple[str, bytes]] = (),
) -> str:
    """The page.

    Args:
        found: the tables.
        pictures: PNG images of the figures of each, by name.
        about: one line on where the runs are from.
        above: captions and PNG images of figures of all tables together.
    """
    sections = [_section(grid, some) for grid, some in zip(found, pictures, strict=True)]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><link rel="icon" href="data:,">'
        f"<title>Comparison</title><style>{html.THEME}{_STYLE}</style><h1>Comparison</h1><p>{escape(about)}</p>"
        f"<p>{_signs(NOTE)} A click on a heading sorts.</p>"
        f"{''.join(html.figure(image, told) for told, image in above)}{''.join(sections)}"
        f"<script>{_SCRIPT}</script></html>\n"
    )


def _section(grid: Grid, pictures: Mapping[str, bytes]) -> str:
    parts = [
        f"<section><h2>{escape(grid.title)}</h2>",
        '<input type="search" placeholder="show rows with these words" aria-label="filter">',
        _table(grid.heads, grid.rows, grid.keys, grid.best),
    ]
    if grid.tests:
        parts += [f"<p>{escape(PAIRED)}</p>", _table(*tests(grid))]
    parts += [f"<p>{escape(note)}</p>" for note in grid.notes]
    if len(grid.options[0]) > 1:
        parts.append(
            "<details><summary>all options in which the rows differ</summary>"
            f"{_table(*grid.options)}</details>"
        )
    parts.append('<div class="figures">')
    for name, image in pictures.items():
        parts.append(html.figure(image, caption_of(name, CAPTIONS)))
    return "".join([*parts, "</div></section>"])


def _table(
    heads: Sequence[str],
    rows: Sequence[Sequence[str]],
    keys: Sequence[Sequence[float]] | None = None,
    best: Sequence[Sequence[bool]] | None = None,
) -> str:
    words = [not all(_NUMBER.match(row[column]) for row in rows) for column in range(len(heads))]
    kinds = [' class="words"' if each else "" for each in words]
    top = "".join(
        f"<th{kind}><button>{escape(head)}</button></th>"
        for head, kind in zip(heads, kinds, strict=True)
    )
    body = []
    for number, row in enumerate(rows):
        cells = []
        for column, cell in enumerate(row):
            key = "" if keys is None or column == 0 else _key(keys[number][column])
            told = _cell(cell)
            if best is not None and best[number][column]:
                told = f"<b>{told}</b>"
            cells.append(f"<td{kinds[column]}{key}>{told}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    return (
        f'<div class="wide"><table class="sorted"><thead><tr>{top}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _cell(text: str) -> str:
    """A mean with its deviation, and its confidence interval below."""
    if not _NUMBER.match(text) or "+-" not in text:
        return escape(text)
    mean, bracket, interval = text.partition(" [")
    return _signs(mean) + (f"<small>[{_signs(interval)}</small>" if bracket else "")


def _signs(text: str) -> str:
    return escape(text).replace("+-", "\u00b1")


def _key(value: float) -> str:
    return ' data-key=""' if math.isnan(value) else f' data-key="{value!r}"'
