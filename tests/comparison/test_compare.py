"""Runs grouped, averaged, tested against each other, and put into tables."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
import shutil
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lifelong.comparison.compare import main
from lifelong.comparison.groups import Group, best, curves, differing, grouped, refer
from lifelong.comparison.paired import pairs
from lifelong.comparison.runs import read
from lifelong.comparison.statistics import holm, summarize
from lifelong.comparison.tables import grids, latex, markdown, tidy
from lifelong.report.figures import against_option


def run(
    folder: Path, strategy: str, seed: int, final: float, em: str | float = "paper", **changes: Any
) -> None:
    """A folder as a finished run leaves it."""
    folder.mkdir(parents=True)
    metrics = {"final_accuracy": final, "peak_accuracy": final, "forgetting_ratio": 0.9}
    metrics |= {"learning_accuracy": final, "forgetting": 0.05}
    results = {
        "strategy": strategy, "data": "toy", "seed": seed, "status": "finished",
        "tasks": ["a", "b"], "visits": [1, 2], "metrics": metrics, "parameters": 1234,
        "seconds": {"train": 7.2}, "accuracy": [[final, None], [final, final]],
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results | changes))
    published = "{peak_accuracy: [39.3, 0.1]}" if strategy == "ours" else "null"
    (folder / "config.yaml").write_text(
        f"epochs: 3\nbatch_size: 10\nlr: 0.0001\npublished: {published}\nseed: {seed}\n"
        f"strategy: {{em: {em}}}\ndata: {{}}\npaths: {{data_dir: data/{seed}}}\n"
    )


def groups_in(*folders: Path) -> list[Group]:
    return grouped(read(folders)[0])


def test_statistics_by_hand() -> None:
    """Of 1, 2, 6: mean 3, deviation sqrt(7), t(2) = 4.3027."""
    found = summarize([1.0, 2.0, 6.0])
    assert (found.n, found.mean) == (3, 3.0)
    assert found.std == pytest.approx(math.sqrt(7))
    assert found.ci95 == pytest.approx(4.30265 * math.sqrt(7) / math.sqrt(3), rel=1e-5)
    assert math.isnan(summarize([]).mean)
    assert math.isnan(summarize([2.0]).ci95)
    assert holm([0.01, 0.04, 0.03]) == [0.03, 0.06, 0.06]
    assert holm([0.5, math.nan, 0.6])[0] == 1.0


def test_means_over_seeds_beside_the_published(tmp_path: Path, capsys: Any) -> None:
    run(tmp_path / "1", "ours", 1, 0.40)
    run(tmp_path / "2", "ours", 2, 0.42)
    run(tmp_path / "3", "theirs", 1, 0.3)
    run(tmp_path / "4", "theirs", 2, 0.9, status="failed")
    assert main([str(tmp_path), "against=paper"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == "toy: 2 tasks, 3 epochs, batch 10"
    accuracy = "41.0 +- 1.4 [28.3, 53.7]"  # t(1) = 12.706, deviation 1.414
    assert lines[4] == (
        f"| `ours` | 2 | {accuracy} | {accuracy} | {accuracy} | 39.3 +- 0.1 | +1.7 "
        "| 5.0 +- 0.0 [5.0, 5.0] | 0.900 +- 0.000 [0.900, 0.900] | 1,234 "
        "| 7 +- 0 [7, 7] |"
    )
    assert lines[5] == "| `theirs` | 1 | 30.0 | 30.0 | 30.0 | - | - | 5.0 | 0.900 | 1,234 | 7 |"
    assert f"not finished: {tmp_path / '4'}\n" in captured.err
    table = list(csv.DictReader(io.StringIO((tmp_path / "comparison.csv").read_text())))
    peak = next(row for row in table if (row["method"], row["metric"]) == ("ours", "peak_accuracy"))
    assert [float(peak[key]) for key in ("mean", "deviation", "published", "difference")] == (
        pytest.approx([41.0, math.sqrt(2), 39.3, 1.7])
    )
    assert float(peak["ci95_high"]) == pytest.approx(41 + 12.7062 * 1, abs=1e-3)
    assert (tmp_path / "comparison.md").read_text() in captured.out
    assert main([str(tmp_path)]) == 0
    assert "39.3" not in capsys.readouterr().out
    config = tmp_path / "2" / "config.yaml"
    config.write_text(config.read_text() + "changed: [epochs=3, tasks=2]\n")
    assert main([str(tmp_path), "against=paper"]) == 0
    note = "ours: the published figures are not of epochs=3 tasks=2"
    assert f"\n{note}\n" in capsys.readouterr().out
    assert note in (tmp_path / "comparison.html").read_text()
    assert f"% {note}\n" in (tmp_path / "comparison.tex").read_text()


def test_paired_tests_over_common_seeds(tmp_path: Path) -> None:
    """Differences .1, .2, .3: t = .2 / (.1 / sqrt 3) = 3.4641 with 2 degrees, p = 0.0742."""
    for seed, (one, other) in enumerate([(0.5, 0.4), (0.7, 0.5), (0.6, 0.3)], 1):
        run(tmp_path / f"a{seed}", "a", seed, one)
        run(tmp_path / f"b{seed}", "b", seed, other)
    run(tmp_path / "b9", "b", 9, 0.9)  # a seed that a has not
    run(tmp_path / "c1", "c", 1, 0.9)
    (pair,) = pairs(groups_in(tmp_path))
    assert (pair.one, pair.other, pair.n) == ("a", "b", 3)
    assert pair.difference == pytest.approx(0.2)
    assert pair.p == pytest.approx(0.07418, abs=1e-5)
    assert pair.adjusted == pytest.approx(pair.p)


def test_many_methods_are_compared_with_the_best(tmp_path: Path) -> None:
    for number in range(8):
        for seed in (1, 2):
            run(tmp_path / f"{number}_{seed}", f"m{number}", seed, 0.1 * number + 0.01 * seed)
    found = pairs(groups_in(tmp_path))
    assert [pair.one for pair in found] == ["m7"] * 7
    assert all(math.isnan(pair.p) for pair in found)  # the same difference for both seeds


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        ({"data": "other"}, {}),
        ({"tasks": ["a"], "visits": [1], "accuracy": [[0.5]]}, {}),
        ({"fidelity": "authors"}, {}),
        ({"measured_on": "validation"}, {}),
        ({"evaluate": "class"}, {}),
        ({"method": {"unlabeled": "stl10"}}, {}),
        ({"images": {"train": [5, 5], "test": [2, 2]}}, {}),
        ({}, {"epochs: 3": "epochs: 4"}),
    ],
)
def test_what_is_not_comparable_is_not_averaged(
    tmp_path: Path, changes: dict[str, Any], config: dict[str, str]
) -> None:
    run(tmp_path / "1", "ours", 1, 0.4)
    run(tmp_path / "2", "ours", 2, 0.5, **changes)
    text = (tmp_path / "2" / "config.yaml").read_text()
    for old, new in config.items():
        text = text.replace(old, new)
    (tmp_path / "2" / "config.yaml").write_text(text)
    found = groups_in(tmp_path)
    assert [len(group.runs) for group in found] == [1, 1]
    assert len(grids(found)) == 2
    assert not any(grid.tests for grid in grids(found))


def test_runs_with_other_options_are_rows_of_their_own(tmp_path: Path) -> None:
    run(tmp_path / "1", "ours", 1, 0.4)
    run(tmp_path / "2", "ours", 2, 0.5)
    run(tmp_path / "3", "ours", 1, 0.3, em="release")
    found = groups_in(tmp_path, tmp_path / "1")  # a folder named twice counts once
    assert [(group.label, len(group.runs)) for group in found] == [
        ("ours strategy.em=paper", 2),
        ("ours strategy.em=release", 1),
    ]
    assert differing(found) == ["strategy.em"]
    (grid,) = grids(found)
    assert grid.options[0] == ["method", "strategy.em"]


def test_members_of_groups_tell_rows_apart_before_options(tmp_path: Path) -> None:
    for number, rate in ((1, 0.1), (2, 0.2)):
        run(tmp_path / str(number), "ours", 1, 0.4, em=rate)
        path = tmp_path / str(number) / "config.yaml"
        path.write_text(path.read_text() + f"choices: {{optimizer: kind{number}, data: toy}}\n")
    assert [g.label for g in groups_in(tmp_path)] == [
        "ours optimizer=kind1",
        "ours optimizer=kind2",
    ]


def test_by_refuses_to_average_what_differs(tmp_path: Path, capsys: Any) -> None:
    run(tmp_path / "1", "ours", 1, 0.4)
    run(tmp_path / "2", "ours", 2, 0.5, em="release")
    assert main([str(tmp_path), "by=lr"]) == 2
    error = capsys.readouterr().err
    assert "are not averaged: strategy.em is paper and release; add strategy.em to by" in error
    assert not (tmp_path / "comparison.csv").exists()
    assert main([str(tmp_path), "by=strategy.em,lr"]) == 0


def test_a_copy_of_a_run_does_not_count_twice(tmp_path: Path, capsys: Any) -> None:
    run(tmp_path / "1", "ours", 1, 0.4)
    run(tmp_path / "2", "ours", 1, 0.4)
    assert [len(group.runs) for group in groups_in(tmp_path)] == [1]
    run(tmp_path / "3", "ours", 1, 0.41)
    assert main([str(tmp_path)]) == 2
    assert "the same options and seeds gave different results" in capsys.readouterr().err


def test_mistakes(tmp_path: Path, capsys: Any) -> None:
    assert main([str(tmp_path)]) == 2
    assert "holds no runs" in capsys.readouterr().err
    assert main([]) == 2
    told = "error: FOLDER: give one or more that hold runs; --help lists all\n"
    assert capsys.readouterr().err == told
    run(tmp_path / "1", "ours", 1, 0.4)
    assert main(["figure=strategy.em", str(tmp_path)]) == 2
    assert "strategy.em: the runs have no two values of it" in capsys.readouterr().err
    (tmp_path / "1" / "results.json").write_text("{")
    assert main([str(tmp_path)]) == 2
    assert "results.json: cannot be read" in capsys.readouterr().err


def test_a_figure_against_an_option(tmp_path: Path, capsys: Any) -> None:
    for number, (seed, strength) in enumerate([(1, 0.0), (2, 0.0), (1, 10.0), (1, 0.1)]):
        run(tmp_path / str(number), "ours", seed, 0.4, em=strength)
    assert main(["figure=strategy.em", str(tmp_path)]) == 0
    path = tmp_path / "against_strategy.em.png"
    assert str(path) in capsys.readouterr().out
    with Image.open(path) as picture:
        assert picture.width > 500
    left, _ = against_option(curves(groups_in(tmp_path), "strategy.em"), "strategy.em").axes
    points = left.containers[0].lines[0]
    assert points.get_xdata().tolist() == [0.0, 0.1, 10.0]
    assert points.get_ydata().tolist() == [40.0] * 3


def test_the_best_options_of_each_method(tmp_path: Path, capsys: Any) -> None:
    run(tmp_path / "1", "ours", 1, 0.4, measured_on="validation")
    run(tmp_path / "2", "ours", 2, 0.5, measured_on="validation")
    run(tmp_path / "3", "ours", 1, 0.46, em="release", measured_on="validation")
    run(tmp_path / "4", "theirs", 1, 0.3, measured_on="validation", fidelity="authors")
    assert {group.label for group in best(groups_in(tmp_path))} == {
        "ours strategy.em=release", "theirs"
    }  # fmt: skip
    assert main(["best=true", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "batch 10, measured on validation images" in printed
    assert "batch 10, official implementation, measured on validation images" in printed
    assert "em=paper" not in printed


class Page(HTMLParser):
    """Checks that tags close, and gathers what a browser would fetch."""

    VOID = frozenset({"meta", "link", "img", "input", "br", "html"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = dict(attrs)
        self.fetched += [given[key] for key in ("src", "href") if key in given]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_the_page_is_whole_and_asks_no_network(tmp_path: Path) -> None:
    for seed in (1, 2):
        run(tmp_path / f"a{seed}", "a<b>&", seed, 0.5 + 0.01 * seed)
        run(tmp_path / f"b{seed}", "b", seed, 0.4 + 0.02 * seed)
    assert main([str(tmp_path)]) == 0
    text = (tmp_path / "comparison.html").read_text()
    parsed = Page()
    parsed.feed(text)
    assert parsed.open == []
    assert all(link.startswith("data:") for link in parsed.fetched)
    assert len([link for link in parsed.fetched if link.startswith("data:image/png")]) == 5
    assert "a&lt;b&gt;&amp;" in text
    assert "a<b>" not in text
    assert "http" not in text
    assert len(list((tmp_path / "comparison_figures").glob("*.png"))) == 5


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs the browser Chromium")
def test_the_page_in_a_browser(tmp_path: Path) -> None:
    """No error, no request; a click on a heading sorts, the second the other way; words filter."""
    for name, accuracy in (("middle", 0.5), ("worst", 0.3), ("best", 0.9)):
        run(tmp_path / name, name, 1, accuracy)
    assert main([str(tmp_path)]) == 0
    page = tmp_path / "comparison.html"
    page.write_text(
        page.read_text()
        + """<script>
        const [, , button] = document.querySelectorAll("table.sorted th button");
        const order = () => [...document.querySelectorAll("section tbody")][0].innerText;
        const told = [];
        for (let i = 0; i < 2; i++) { button.click(); told.push(order().match(/[a-z]+/g)); }
        const input = document.querySelector("input");
        input.value = "WOR";
        input.dispatchEvent(new Event("input"));
        told.push([...document.querySelectorAll("tbody tr")].filter(r => !r.hidden).length);
        document.title = JSON.stringify(told);
        </script>"""
    )
    net = tmp_path / "net.json"
    done = subprocess.run(
        ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom",
         f"--user-data-dir={tmp_path / 'profile'}", f"--log-net-log={net}",
         "--enable-logging=stderr", page.as_uri()],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "CONSOLE" not in done.stderr
    title = re.search("<title>(.*)</title>", done.stdout)
    assert title is not None
    up, down, shown = json.loads(html.unescape(title[1]))
    assert (up, down) == (["best", "middle", "worst"], ["worst", "middle", "best"])
    assert shown == 1
    asked = set(re.findall(r'"url":"(https?://[^/"]+)', net.read_text()))
    own = ("google.com", "gvt1.com", "googleapis.com")  # the browser's questions about itself
    assert all(address.endswith(own) for address in asked)


def added(folder: Path, text: str) -> None:
    path = folder / "config.yaml"
    path.write_text(path.read_text() + text)


def test_runs_without_results_are_told(tmp_path: Path, capsys: Any) -> None:
    run(tmp_path / "done", "ours", 1, 0.5)
    (tmp_path / "killed").mkdir()
    for name in ("config.yaml", "environment.json"):
        (tmp_path / "killed" / name).write_text("{}")
    (tmp_path / "failures").mkdir()
    (tmp_path / "failures" / "lr=-1.txt").write_text("lr=-1: give more")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "results.json").write_text("[]")
    assert main([str(tmp_path)]) == 0
    told = capsys.readouterr().err
    assert f"not finished: {tmp_path / 'killed'}\n" in told
    assert f"not finished: {tmp_path / 'lr=-1'}\n" in told
    assert "foreign" not in told
    assert main([str(tmp_path / "killed")]) == 2
    assert "holds no finished run, 1 others" in capsys.readouterr().err


def test_the_same_number_in_another_order_is_the_same(tmp_path: Path) -> None:
    for seed, text in ((1, "b: {x: 100, y: 2}\n"), (2, "b: {y: 2.0, x: 100.0}\n")):
        run(tmp_path / str(seed), "ours", seed, 0.5)
        added(tmp_path / str(seed), text)
    assert [len(group.runs) for group in groups_in(tmp_path)] == [2]


def test_by_a_member_of_a_group(tmp_path: Path) -> None:
    for number, member in enumerate(("top1", "top2")):
        run(tmp_path / member, "ours", 1, 0.5, em=number)
        added(tmp_path / member, f"choices: {{transfer: {member}}}\n")
    runs, _, _ = read([tmp_path])
    assert [g.label for g in grouped(runs, ["transfer"])] == [
        "ours transfer=top1", "ours transfer=top2"
    ]  # fmt: skip
    with pytest.raises(ValueError, match="by=transfr: no run has such an option"):
        grouped(runs, ["transfr"])


def test_times_and_weights_left_beside_the_published(tmp_path: Path, capsys: Any) -> None:
    """Seconds, the ratio to the method that the paper names, and shares of weights by task."""
    for seed, seconds in ((1, 30.0), (2, 50.0)):
        run(tmp_path / f"brute {seed}", "brute", seed, 0.4, seconds={"train": seconds})
        run(tmp_path / f"ours {seed}", "ours", seed, 0.4, seconds={"train": seconds / 5})
        left = {"remaining": {"1": 0.8, "2": 0.5 + seed / 100}}
        run(tmp_path / f"tickets {seed}", "tickets", seed, 0.4, method=left)
    for name, published in (
        ("brute", "{relative_time: [6.55, ours]}"),
        ("ours", "{seconds: [70200, null]}"),
        ("tickets", "{weights_left: [80, 64, 32.77]}"),
    ):
        for config in tmp_path.glob(f"{name} *"):
            path = config / "config.yaml"
            text = path.read_text()
            old = next(line for line in text.splitlines() if line.startswith("published"))
            path.write_text(text.replace(old, f"published: {published}"))
    assert main([str(tmp_path), "against=paper"]) == 0
    told = capsys.readouterr().out
    assert "| seconds of training | published seconds | time over another's |" in told
    assert "| - | 5.00 of ours, published 6.55 |" in told
    assert "| 70200 | - |" in told
    note = "tickets: % of weights left after each task, (published): "
    assert note + "80.00 (80.00), 51.50 (64.00), - (32.77)" in told
    assert note in (tmp_path / "comparison.html").read_text()
    assert main([str(tmp_path)]) == 0
    assert "70200" not in capsys.readouterr().out


def test_validation_is_not_put_beside_the_published(tmp_path: Path, capsys: Any) -> None:
    run(tmp_path / "1", "ours", 1, 0.5, measured_on="validation")
    assert main([str(tmp_path), "against=paper"]) == 0
    assert "39.3" not in capsys.readouterr().out


def test_curves_of_what_else_is_the_same(tmp_path: Path, capsys: Any) -> None:
    for number in (1, 2):
        run(tmp_path / f"t{number}", "ours", 1, 0.5, em=number)
        run(tmp_path / f"v{number}", "ours", 1, 0.6, em=number, measured_on="validation")
    found = curves(groups_in(tmp_path), "strategy.em")
    assert {name: [value for value, _ in points] for name, points in found.items()} == {
        "ours, toy, measured_on=test": [1, 2], "ours, toy, measured_on=validation": [1, 2]
    }  # fmt: skip
    assert main([str(tmp_path), "figure=strategy.em", "best=true"]) == 2
    assert "figure: draws all runs" in capsys.readouterr().err
    for folder in tmp_path.iterdir():
        content = json.loads((folder / "results.json").read_text())
        content["metrics"]["forgetting"] = None
        (folder / "results.json").write_text(json.dumps(content))
    assert main([str(tmp_path), "figure=strategy.em"]) == 0


def test_a_ticket_is_paired_with_the_run_that_found_it(tmp_path: Path) -> None:
    for seed in (1, 2):
        run(tmp_path / f"found{seed}", "tickets_td", seed, 0.5 + seed / 10)
        run(tmp_path / f"again{seed}", "retrain", seed, 0.4 + seed / 20)
        path = tmp_path / f"again{seed}" / "config.yaml"
        text = path.read_text().replace("em: paper", f"em: paper, run: found{seed}")
        path.write_text(text)
    [pair] = pairs(groups_in(tmp_path))
    assert pair.n == 2
    assert pair.difference == pytest.approx(-0.175)  # retrain 0.45, 0.50; found 0.6, 0.7


def test_latex_is_escaped(tmp_path: Path) -> None:
    run(tmp_path / "1", "my_method", 1, 0.40)
    run(tmp_path / "2", "my_method", 2, 0.42)
    found = latex(grids(groups_in(tmp_path)))
    assert r"my\_method & 2 & $41.0 \pm 1.4$ [28.3, 53.7]" in found
    assert r"final \%" in found
    assert found.count(r"\begin{tabular}") == found.count(r"\end{tabular}") == 1
    assert "my_method" in markdown(grids(groups_in(tmp_path)))
    assert tidy([]).count("\n") == 1


@pytest.fixture
def thousand(tmp_path: Path) -> Path:
    for number in range(1000):
        run(tmp_path / str(number), f"method {number % 20}", number // 20, (number % 97) / 100)
        path = tmp_path / str(number) / "config.yaml"
        path.write_text(path.read_text() + "".join(f"key{i}: {i}\n" for i in range(150)))
    return tmp_path


def test_a_thousand_runs(thousand: Path) -> None:
    begun = time.perf_counter()
    assert main([str(thousand)]) == 0
    assert time.perf_counter() - begun < 20
    assert (thousand / "comparison.csv").read_text().count("final_accuracy") == 20


def test_intransigence_and_transfer_against_other_runs(tmp_path: Path, capsys: Any) -> None:
    """By hand: each task when learned and at the end, less the mean of two reference runs."""
    rows = [[0.5, None], [0.4, 0.7]]
    run(tmp_path / "ours" / "1", "ours", 1, 0.55, accuracy=rows)
    for seed, ends in ((1, [0.8, 0.9]), (2, [0.6, 0.9])):
        values = [[None, None], ends]
        run(tmp_path / "joint" / str(seed), "joint", seed, 0.8, accuracy=values)
    out = tmp_path / "out"
    given = [str(tmp_path / "ours"), f"out={out}", f"reference={tmp_path / 'joint'}"]
    assert main(given) == 0
    runs = read([tmp_path / "ours"])[0]
    refer(runs, groups_in(tmp_path / "joint"))
    [grid] = grids(grouped(runs))
    row = dict(zip(grid.heads, grid.rows[0], strict=True))
    assert row["intransigence %, joint"] == f"{50 * (0.7 - 0.5 + 0.9 - 0.7):.1f}"
    assert row["knowledge transfer %, joint"] == f"{50 * (0.4 - 0.7 + 0.7 - 0.9):.1f}"
    assert "knowledge_transfer_joint" in (out / "comparison.csv").read_text()
    run(tmp_path / "other" / "1", "ours", 1, 0.5, data="birds")
    assert main([str(tmp_path / "other"), *given[1:]]) == 2
    told = capsys.readouterr().err
    assert f"reference: no run of it has learned the tasks of {tmp_path / 'other'}" in told


def test_results_of_an_earlier_version_are_told(tmp_path: Path) -> None:
    run(tmp_path / "1", "ours", 1, 0.5, visits=[0, 1])
    _, _, damaged = read([tmp_path])
    assert "was written by an earlier version, which numbered tasks from 0" in "".join(
        damaged.values()
    )


def test_orders_are_averaged_and_the_worst_and_best_are_told(tmp_path: Path) -> None:
    for order, final in ((1, 0.5), (2, 0.8), (3, 0.6)):
        folder = tmp_path / str(order)
        run(folder, "ours", 1, final)
        config = (folder / "config.yaml").read_text()
        (folder / "config.yaml").write_text(config.replace("{}", f"{{order_seed: {order}}}"))
    [group] = groups_in(tmp_path)
    assert len(group.runs) == 3
    [note] = grids([group])[0].notes
    assert (
        "over 3 orders: worst 50.0 % (data.order_seed=1), best 80.0 % (data.order_seed=2)" in note
    )
