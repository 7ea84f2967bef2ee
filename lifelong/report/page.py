"""report.html and figures/*.png: one self-contained page about a run, made from its files.

`lifelong report FOLDER...` makes it anew, with trust=true also the figures of methods of one's own;
pdf=true also draws figures/*.pdf, for a paper. reference=FOLDER,FOLDER draws into the curves what
runs of the same stream know at their end of the tasks so far, such as one of strategy=single_task.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from lifelong.configuration.arguments import Argument, parse
from lifelong.configuration.folders import check_run
from lifelong.configuration.stored import read_config
from lifelong.configuration.trust import allowed
from lifelong.drawing import Drawing, image
from lifelong.errors import command, debugging, reason
from lifelong.measures.matrix import learned_at
from lifelong.measures.metrics import (
    APART,
    WITHOUT_TASK,
    caption_of,
    heads_apart,
    how_asked,
    metric_of,
    of_images,
    other_way,
    percent,
)
from lifelong.report import html
from lifelong.report.figures import figures
from lifelong.storage.files import write_bytes, write_text
from lifelong.storage.results import IN_REPORTS, read_results, visited

_HEADLINES = (
    *("final_accuracy", "final_accuracy_class", "final_accuracy_task", "peak_accuracy"),
    *("learning_accuracy", "forgetting", "forgetting_class", "forgetting_task"),
    *("forgetting_ratio", "backward_transfer"),
)
_CAPTIONS = {
    "accuracy_matrix": "Test accuracy of each task (columns) after each task was learned (rows).",
    "accuracy_curves": "Test accuracy of each task along the stream; dashed: the mean of those "
    "met; dotted: the mean by chance; dash-dotted: the mean that a reference has at its end; "
    "crosses: the mean that a paper published.",
    "anytime_accuracy": "Accuracy of each task seen in the tests inside visits, on a few images; "
    "dotted: the last test inside a visit.",
    "confusion": "How the test images of each class were answered after the last visit.",
    "forgetting_by_task": "Best accuracy of each task less that at the end.",
    "plasticity": "How well each task is learned; units of each layer that hardly answer; "
    "directions that the features of the task's test images have.",
    "validation_curves": "Validation accuracy of each task while it is learned.",
}
_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:62rem;
margin:0 auto;padding:1rem}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.1rem;margin:2rem 0 .5rem}a{color:var(--link)}
nav{font-size:.9rem;margin:.5rem 0 1rem;display:flex;flex-wrap:wrap;gap:.2rem 1rem}
.cards{display:flex;flex-wrap:wrap;gap:.7rem}
.card{flex:1 1 9rem;border:1px solid var(--line);border-radius:.5rem;padding:.6rem .8rem}
.card b{display:block;font-size:1.5rem}.card span{font-size:.8rem;color:var(--soft)}
figure{margin:1rem 0}img{max-width:100%;height:auto;background:#fff;border-radius:.3rem}
figcaption{font-size:.9rem;color:var(--soft)}
table{border-collapse:collapse;font-size:.9rem}td,th{padding:.2rem .7rem;text-align:right}
th{border-bottom:2px solid var(--line)}td:first-child,th:first-child{text-align:left}
pre{background:var(--box);padding:1rem;overflow-x:auto;font-size:.8rem}
"""


def write_report(
    folder: Path, trust: bool = False, pdf: bool = False, references: Sequence[Path] = ()
) -> None:
    """Draws the figures of the run in `folder` and writes its page.

    Args:
        folder: of the run.
        trust: also ask a method or an optimizer that is no part of lifelong for its figures.
        pdf: also draw the figures as PDF.
        references: folders of runs that have learned the same tasks, drawn into the curves.

    Raises:
        ValueError: a file that is damaged, or a reference of other tasks.
    """
    check_run(folder)
    results = read_results(folder, IN_REPORTS)
    results["references"] = [_reference(results, path) for path in references]
    config = read_config(folder / "config.yaml")
    try:
        made = {
            name: Drawing(figure, caption_of(name, _CAPTIONS))
            for name, figure in figures(results).items()
        }
        for part in _made_by(config, trust):
            made |= part.drawings(results)
        drawn = {name: image(each.figure) for name, each in made.items()}
        printed = {name: image(each.figure, "pdf") for name, each in made.items() if pdf}
        cards, table, facts = _cards(results), _table(results), _facts(results)
    except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{folder / 'results.json'}: is damaged, or of another version ({reason(error)})"
        ) from (error if debugging() else None)
    pictures, heads = [], OmegaConf.select(config, "heads._target_")
    for name, content in printed.items():
        write_bytes(folder / "figures" / f"{name}.pdf", content)
    for name, content in drawn.items():
        write_bytes(folder / "figures" / f"{name}.png", content)
        apart = name.endswith(WITHOUT_TASK) and heads_apart(heads)
        pictures.append(html.figure(content, _caption(made[name].caption, results, apart), name))
    title = escape(f"{results['strategy']} on {results['data']}, seed {results['seed']}")
    files = {
        name: (folder / name).read_text(encoding="utf-8")
        for name in ("config.yaml", "environment.json")
    }
    parts = {
        "Figures": "".join(pictures),
        "Tasks": table,
        "Numbers of the run": facts,
        "Files": _files(folder, list(drawn)),
        **{name: f"<pre>{escape(text)}</pre>" for name, text in files.items()},
    }
    contents = "".join(f'<a href="#{_anchor(name)}">{name}</a>' for name in parts)
    body = [
        f"<h1>{title}</h1>",
        f"<nav>{contents}</nav>",
        _standing(results),
        cards,
        *(f'<h2 id="{_anchor(name)}">{name}</h2>{text}' for name, text in parts.items()),
    ]
    write_text(
        folder / "report.html",
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{html.THEME}{_STYLE}</style>{''.join(body)}</html>\n",
    )


def _caption(caption: str, results: dict[str, Any], apart: bool) -> str:
    """What is below a figure, without what is not in it."""
    if apart:
        caption += f" The {APART}"
    if not results["references"]:
        caption = caption.replace("; dash-dotted: the mean that a reference has at its end", "")
    if not results.get("published", {}).get("average_accuracy_after"):
        caption = caption.replace("; crosses: the mean that a paper published", "")
    return of_images(caption, results)


def _reference(results: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The results of another run, if they can be put beside those of this one.

    Raises:
        ValueError: it has learned other tasks, or was asked in another way.
    """
    check_run(folder, "reference=")
    found = read_results(folder)
    keys = ["data", "tasks", "measured_on"]
    if "classes" in found and "classes" in results:  # which runs of earlier versions do not say
        keys.append("classes")
    for key in keys:
        if found.get(key, "test") != results.get(key, "test"):
            raise ValueError(
                f"reference={folder}: is no reference for this run: its {key.replace('_', ' ')} "
                f"is {found.get(key)}, not {results.get(key)}"
            )
    return found


def _anchor(name: str) -> str:
    return name.lower().replace(" ", "-").replace(".", "-")


def _files(folder: Path, drawn: Sequence[str]) -> str:
    """Links to what lies beside the page."""
    names = ["results.json", "accuracy.csv", "config.yaml", "environment.json", "train.log"]
    there = [name for name in names if (folder / name).exists()]
    figures = [f"figures/{name}.{kind}" for name in drawn for kind in ("png", "pdf")]
    there += [name for name in figures if (folder / name).exists()]
    links = (f'<li><a href="{quote(name)}">{escape(name)}</a></li>' for name in there)
    return f"<ul>{''.join(links)}</ul>"


def _made_by(config: DictConfig, trust: bool) -> list[Any]:
    """What of a run may have figures of its own: the method and the optimizer."""
    names = [OmegaConf.select(config, f"{key}._target_") for key in ("strategy", "optimizer")]
    known = [get_object(name) for name in names if name and (trust or allowed(name))]
    return [each for each in known if hasattr(each, "drawings")]


def _standing(results: dict[str, Any]) -> str:
    """Says of a run that is not finished how far it is; it draws its page just before its end."""
    done, of = len(results["accuracy"]), len(visited(results))
    if results["status"] == "finished" or (results["status"] == "running" and done == of):
        return ""
    return (
        f"<p><strong>Not finished ({escape(results['status'])}): {done} of {of} visits are "
        "measured.</strong> What is said of the end is of the last of these.</p>"
    )


def _cards(results: dict[str, Any]) -> str:
    cards = []
    for name in _HEADLINES:
        value, metric = results["metrics"].get(name), metric_of(name)
        if value is not None and metric is not None:
            cards.append(
                f'<div class="card">{escape(metric.words)}<b>{metric.text(value)}</b>'
                f"<span>{escape(of_images(metric.meaning, results))}</span></div>"
            )
    return f'<div class="cards">{"".join(cards)}</div>'


def _table(results: dict[str, Any]) -> str:
    chosen = {
        int(task) - 1: entry.get("chosen", "")
        for task, entry in results["method"].get("tasks", {}).items()
    }
    learned = learned_at(visited(results)[: len(results["accuracy"])])
    end = other_way(results)
    other = None if end is None else results[f"accuracy{end}"]
    head = ["task", "when learned", "peak", "at the end"]
    head += [f"at the end, {how_asked(end)}"] if end else []
    named = results.get("classes")
    head += [*(["classes"] if named else []), "training images"]
    rows = []
    for task, name in enumerate(results["tasks"]):
        if task not in learned:  # of a run that was stopped
            continue
        values = [
            results["accuracy"][learned[task]][task],
            results["peak_accuracy_of_task"][task],
            results["accuracy"][-1][task],
            *([other[-1][task]] if other else []),
        ]
        texts = [*([_few(named[task])] if named else []), str(results["images"]["train"][task])]
        rows.append([name, *map(percent, values), *texts, chosen.get(task, "")])
    if chosen:
        head.append("configuration")
    else:
        rows = [row[:-1] for row in rows]
    return _html_table(head, rows)


def _few(names: Sequence[str], most: int = 5) -> str:
    """Some names, and how many more there are."""
    left = len(names) - most
    return ", ".join(names[:most]) + (f" and {left} more" if left > 0 else "")


def _facts(results: dict[str, Any]) -> str:
    metrics = []
    for name, value in results["metrics"].items():
        metric = metric_of(name)
        words = name.replace("_", " ") if metric is None else metric.words
        metrics.append([words, percent(value, 2) if metric is None else metric.text(value)])
    seconds = [[f"seconds: {name}", f"{value:.1f}"] for name, value in results["seconds"].items()]
    parameters = [["parameters kept", f"{results['parameters']:,}"]]
    kept = (results.get("bytes_after_visit") or [{}])[-1]
    costs = [[f"bytes kept: {name}", f"{value:,}"] for name, value in kept.items()]
    for key, words in (("multiply_adds", "multiply-adds"), ("peak_memory", "most bytes of the")):
        costs += [
            [f"{words} {name.replace('_', ' ')}", f"{value:,}"]
            for name, value in results.get(key, {}).items()
        ]
    return _html_table(["figure", "value"], metrics + parameters + costs + seconds)


def _html_table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'


OPTIONS = {
    "trust": Argument("of a run with parts of your own", "false"),
    "pdf": Argument("also draw the figures as PDF, for a paper", "false"),
    "reference": Argument("folders of runs that are drawn into the curves", many=True, folder=True),
}


def main(arguments: Sequence[str]) -> int:
    """Makes the pages of runs anew; gives the exit status."""
    return command(lambda: _pages(arguments))


def _pages(arguments: Sequence[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        print(__doc__)
        return 0
    given = parse(arguments, OPTIONS)
    if not given[""]:
        raise ValueError("FOLDER: give that of a run; --help says more")
    for text in given[""]:
        write_report(
            Path(text), given["trust"], given["pdf"], [*map(Path, given["reference"] or ())]
        )
        print(Path(text) / "report.html")
    return 0
