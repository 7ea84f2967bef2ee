"""The page about a run."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from lifelong.report import figures, page
from lifelong.strategies import MAS

CONFIG = "strategy: {_target_: lifelong.strategies.MAS, strength: '<1&'}\n"
CONFIG += "optimizer: {}\ndata: {}\npaths: {}\n"
RESULTS: dict[str, Any] = {
    "strategy": "a<b>", "data": "toy", "seed": 3, "status": "running", "tasks": ["one", "<two>"],
    "visits": [2, 1], "accuracy": [[None, 0.5], [0.875, 0.25]], "parameters": 12345,
    "accuracy_class": [[None, 0.4], [0.5, 0.125]],
    "metrics": {"final_accuracy": 0.5625, "forgetting": 0.25, "forgetting_ratio": 0.5},
    "seconds": {"train": 7.25}, "peak_accuracy_of_task": [0.9, None],
    "images": {"train": [24, 30]}, "validation": {"1": {}}, "method": {},
}  # fmt: skip


class Cells(HTMLParser):
    """The rows of all tables, and what a browser would fetch."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows, self.fetched, self.inside = list[list[str]](), list[str](), False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.fetched += [value for key, value in attrs if key in ("src", "href")]
        if tag == "tr":
            self.rows.append([])
        self.inside = tag in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.rows[-1].append(data)

    def handle_endtag(self, tag: str) -> None:
        self.inside = False


def written(folder: Path, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "results.json").write_text(json.dumps({**RESULTS, **changes}))
    (folder / "config.yaml").write_text(CONFIG)
    (folder / "environment.json").write_text('{"python": "<3>"}')
    return folder


@pytest.mark.page
def test_a_page_holds_all_that_a_run_found_and_asks_no_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = written(tmp_path / "run")
    assert page.main([str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder}/report.html\n"
    text = (folder / "report.html").read_text()
    found = Cells(text)
    assert ["task", "when learned", "peak", "at the end", "at the end, class-incremental",
            "training images"] in found.rows  # fmt: skip
    assert ["one", "87.5 %", "90.0 %", "87.5 %", "50.0 %", "24"] in found.rows
    assert ["<two>", "50.0 %", "-", "25.0 %", "12.5 %", "30"] in found.rows
    assert ["forgetting ratio", "0.500"] in found.rows
    assert ["parameters kept", "12,345"] in found.rows
    assert ["seconds: train", "7.2"] in found.rows
    names = {path.stem for path in (folder / "figures").glob("*.png")}
    assert names == {"accuracy_matrix", "accuracy_curves", "accuracy_matrix_class",
                     "accuracy_curves_class", "forgetting_by_task"}  # fmt: skip
    pictures = [link for link in found.fetched if link.startswith("data:image/png;base64,")]
    assert len(pictures) == len(names)
    others = [link for link in found.fetched if link not in pictures]
    inside = {link.removeprefix("#") for link in others if link.startswith("#")}
    assert inside == set(re.findall(r'<h2 id="([\w-]+)"', text))
    files = [link for link in others if not link.startswith("#")]
    assert {"results.json", "config.yaml", "figures/accuracy_curves.png"} <= set(files)
    assert all((folder / link).is_file() for link in files)
    assert set(re.findall(r'alt="(\w+)"', text)) == names
    assert "<title>a&lt;b&gt; on toy, seed 3</title>" in text
    assert "a<b>" not in text
    assert "&lt;1&amp;" in text  # of the configuration
    assert "crosses" not in text  # of what no paper published


def test_a_card_for_each_headline_that_was_measured() -> None:
    text = page._cards(RESULTS)
    assert re.findall(r"<b>(.*?)</b>", text) == ["56.2 %", "25.0 %", "0.500"]
    assert page._cards({"metrics": {"final_accuracy": None}}) == '<div class="cards"></div>'


def test_configurations_that_were_chosen_stand_beside_their_tasks() -> None:
    searched = {**RESULTS, "method": {"tasks": {"2": {"chosen": "1100"}}}}
    rows = Cells(page._table(searched)).rows
    assert rows[0][-1] == "configuration"
    assert rows[2][-1] == "1100"


@pytest.mark.page
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"metrics": {"final_accuracy": "high"}}, "is damaged, or of something else"),
        ({"images": {}}, "is damaged, or of another version"),
        ({"peak_accuracy_of_task": [0.5]}, "do not fit"),
    ],
)
def test_damage_is_told_and_no_page_is_made(
    tmp_path: Path, changes: dict[str, Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = written(tmp_path / "run", **changes)
    assert page.main([str(folder)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {folder}/results.json: ")
    assert message in told
    assert not (folder / "report.html").exists()
    assert page.main([]) == 2
    assert "FOLDER: give that of a run" in capsys.readouterr().err


def test_figures_of_ones_own_methods_need_trust() -> None:
    def made(target: str, trust: bool) -> list[Any]:
        config = OmegaConf.create({"strategy": {"_target_": target}, "optimizer": None})
        return page._made_by(config, trust)

    assert made("lifelong.strategies.MAS", False) == [MAS]
    assert made("tests.pruning.Pruning", False) == []
    assert [each.__name__ for each in made("tests.pruning.Pruning", True)] == ["Pruning"]


@pytest.mark.page
def test_the_page_says_how_far_a_run_is_and_on_which_images(tmp_path: Path) -> None:
    here = written(tmp_path / "run", visits=[2, 1, 2], measured_on="validation", plasticity=[])
    page.main([str(here)])
    text = (here / "report.html").read_text()
    assert "Not finished (running): 2 of 3 visits are measured." in text
    assert "Validation accuracy of each task (columns)" in text
    assert "est images" not in text.replace("validation images", "")
    here = written(tmp_path / "run")  # as a run is when it draws its page
    page.main([str(here)])
    text = (here / "report.html").read_text()
    assert "Not finished" not in text
    assert "Test accuracy of each task (columns)" in text


@pytest.mark.page
def test_figures_also_as_pdf(tmp_path: Path) -> None:
    folder = written(tmp_path / "run")
    assert page.main([str(folder), "pdf=true"]) == 0
    made = {path.stem for path in (folder / "figures").glob("*.pdf")}
    assert made == {path.stem for path in (folder / "figures").glob("*.png")}
    assert 'href="figures/accuracy_curves.pdf"' in (folder / "report.html").read_text()


@pytest.mark.page
def test_the_page_names_classes_and_says_that_heads_are_apart(tmp_path: Path) -> None:
    names = [["cat", "<dog>"], [str(number) for number in range(7)]]
    here = written(tmp_path / "run", classes=names)
    (here / "config.yaml").write_text(CONFIG + "heads: {_target_: lifelong.networks.MultiHead}\n")
    assert page.main([str(here)]) == 0
    text = (here / "report.html").read_text()
    assert "<td>cat, &lt;dog&gt;</td>" in text
    assert "<td>0, 1, 2, 3, 4 and 2 more</td>" in text
    assert text.count("The heads of the tasks are trained apart") == 2
    (here / "config.yaml").write_text(CONFIG)
    page.main([str(here)])
    assert "trained apart" not in (here / "report.html").read_text()


@pytest.mark.page
def test_references_are_drawn_into_the_curves(tmp_path: Path) -> None:
    """What they know at their end of the tasks met so far, asked as the run is."""
    here = written(tmp_path / "run")
    alone = written(tmp_path / "alone", strategy="single_task", accuracy=[[None, 0.5], [0.9, 0.7]])
    results = {**RESULTS, "references": [json.loads((alone / "results.json").read_text())]}
    assert figures.references(results) == {"single_task": pytest.approx([70, 80])}
    by_class = {**results, "evaluate": "class", "accuracy": RESULTS["accuracy_class"]}
    found = figures.references(by_class)["single_task"]  # before, classes to come competed
    assert math.isnan(found[0])
    assert found[1] == pytest.approx(31.25)
    assert page.main([str(here), f"reference={alone}"]) == 0
    text = (here / "report.html").read_text()
    assert "dash-dotted: the mean that a reference has at its end" in text
    assert page.main([str(here)]) == 0
    assert "dash-dotted" not in (here / "report.html").read_text()


@pytest.mark.page
def test_a_reference_of_other_tasks_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here, other = written(tmp_path / "run"), written(tmp_path / "other", tasks=["one", "three"])
    assert page.main([str(here), f"reference={other}"]) == 2
    assert "is no reference for this run: its tasks is ['one', 'three']" in capsys.readouterr().err
    assert not (here / "report.html").exists()
    here = written(tmp_path / "run", classes=[["a"], ["b"]])  # tasks of one name, in another order
    other = written(tmp_path / "other", classes=[["b"], ["a"]])
    assert page.main([str(here), f"reference={other}"]) == 2
    assert "its classes is [['b'], ['a']]" in capsys.readouterr().err
