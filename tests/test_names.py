"""Names and texts are data: whatever some layer reads as its own stays what it was."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from lifelong import load_run
from lifelong.comparison import compare
from lifelong.comparison.tables import _escaped
from lifelong.configuration.folders import LONGEST, run_folder
from lifelong.configuration.overrides import quoted
from lifelong.errors import plain
from lifelong.finished import evaluate
from lifelong.report.page import write_report
from lifelong.storage.files import sealed
from tests import wandb_file
from tests.conftest import execute
from tests.processes import Command

NAMES = [
    "[bold]x[/bold]", "[/b]", ":smile:", "{a} {0}", "a'b\"c`d", "50%_&#~^", r"$\frac{a$", "_hidden",
    "<script>alert(1)</script>", "&amp;", "größe", "שלום", "日本 語", "a|b", r"C:\new\table", "-x",
    "=1+1", "é" * 100, "[1,2]", "null", "1e3", "tr ue", "*", "~",
]  # fmt: skip
QUICK = ["strategy=finetune", "tasks=2", "epochs=1", "batch_size=16", "trainer=cpu"]


def folder_of(name: str) -> str:
    return name.replace("/", "-")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class for each name."""
    root = tmp_path_factory.mktemp("images") / "a [b] 'c' 100% ü"
    random = np.random.default_rng(0)
    for part, count in (("train", 4), ("test", 2)):
        for name in NAMES:
            place = root / part / folder_of(name)
            place.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{number} {name[:9].replace('/', '')}.png")
    return root


def own_images(root: Path) -> list[str]:
    return ["data=folder", f"data.root={quoted(str(root))}", "data.shape=[3,8,8]"]


def test_names_of_classes(images: Path, tmp_path: Path) -> None:
    options = [*own_images(images), "data.tasks=2", f"paths.data_dir={tmp_path}", "logger=none"]
    assert execute(tmp_path / "run", *QUICK, *options) == 0
    run = load_run(tmp_path / "run")
    found = [name for task in run.tasks.values() for name in task.class_names]
    assert sorted(found) == sorted(map(folder_of, NAMES))
    assert set(run.names(np.zeros((3, 3, 8, 8)), 1)) <= set(run.tasks[1].class_names)


LOGGED = {"[bold]x[/bold]": "wandb", "{a} {0}": "tensorboard", "é" * 100: "wandb"}


@pytest.mark.parametrize("name", LOGGED)
def test_names_of_runs(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / folder_of(name)[:100]
    options = ["data=digits", "data.fraction=0.2", f"name={quoted(name)}"]
    options += [f"logger={LOGGED[name]}"]
    options += ["logger.wandb.mode=offline"] if LOGGED[name] == "wandb" else []
    assert execute(folder, *QUICK, *options) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{name} on digits, seed 1: CPU")
    assert (folder / "train.log").read_text().startswith(f"{name} on digits, seed 1: CPU")
    assert json.loads((folder / "results.json").read_text())["strategy"] == name
    assert OmegaConf.load(folder / "config.yaml").name == name
    with (folder / "accuracy.csv").open() as file:
        assert {row["strategy"] for row in csv.DictReader(file)} == {name}
    if LOGGED[name] == "tensorboard":
        assert list(folder.glob("tensorboard/events*"))
        return
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    about = wandb_file.about(path)
    assert about["name"] == folder.name
    assert len(about["group"]) <= 128
    assert about["group"].startswith(name[:50])


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert execute(folder, *QUICK, "data=digits", "data.fraction=0.2", "logger=none") == 0
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_names_in_pages_and_tables(
    name: str, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same in every file; of figures the names that matplotlib would read are drawn."""
    if not set(name) & set("$_日[") or len(name) > 30:
        monkeypatch.setattr("lifelong.drawing.image", lambda figure, kind="png": b"image")
        monkeypatch.setattr("lifelong.report.page.image", lambda figure, kind="png": b"image")
    folder = tmp_path / folder_of(name)[:100]
    folder.mkdir()
    results = json.loads((whole / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps(sealed(results | {"strategy": name})))
    for file in ("config.yaml", "environment.json"):
        (folder / file).write_bytes((whole / file).read_bytes())
    write_report(folder)
    page = (folder / "report.html").read_text()
    (heading,) = re.findall("<h1>(.*?)</h1>", page)
    assert html.unescape(heading) == f"{name} on digits, seed 1"
    assert "<script>" not in page
    text, *_ = compare.compare([tmp_path], tmp_path / "out")
    (row,) = [line for line in text.splitlines() if name[:9] in line.replace(r"\|", "|")]
    cell = re.split(r"(?<!\\)\|", row)[1].strip().replace(r"\|", "|")
    assert cell.strip("`").strip() == name.strip("`") if "`" not in name else name in cell
    page = (tmp_path / "out" / "comparison.html").read_text()
    assert f"<td>{html.escape(name)}</td>" in page or f'class="words">{html.escape(name)}' in page
    assert "<script>alert" not in page
    rows = list(csv.DictReader(io.StringIO((tmp_path / "out" / "comparison.csv").read_text())))
    assert {row["method"].removeprefix("'") for row in rows} == {name}
    assert not any(row["method"].startswith(("=", "-", "+", "@")) for row in rows)
    assert _escaped(name) in (tmp_path / "out" / "comparison.tex").read_text()


@pytest.mark.parametrize("name", NAMES)
def test_latex_has_no_sign_of_its_own_left(name: str) -> None:
    known = r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar)\{\}"
    left = re.sub(rf"{known}|\\[&%$#_{{}}]|^\{{\}}", "", _escaped(name))
    assert not re.search(r"[\\&%$#_{}~^]", left)
    assert not left.startswith(("[", "*")) or _escaped(name).startswith("{}")


@pytest.mark.parametrize("name", NAMES)
def test_names_of_folders_of_runs(name: str) -> None:
    found = run_folder(f"strategy={name},seed=1")
    assert len(os.fsencode(found)) <= LONGEST + 9
    assert re.fullmatch(r"[\w.=+-]+", found)
    assert found != run_folder(f"strategy={name} ,seed=1")


@pytest.mark.parametrize("name", ["größe", "שלום", "日本 語", "ü/ö", "a$ü"])
def test_other_alphabets_need_no_quotes(name: str, tmp_path: Path) -> None:
    done = Command(
        tmp_path, *QUICK, "data=digits", "logger=none", "tasks=1", f"name={name}",
        f"paths.output_dir={name}",
    )  # fmt: skip
    _, stderr = done.communicate()
    assert (done.returncode, stderr) == (0, "")
    assert json.loads((tmp_path / name / "results.json").read_text())["strategy"] == name


def test_a_sweep_in_a_folder_of_any_name(tmp_path: Path) -> None:
    name = "a'b\"c [d] {e} 50% \\ $x"
    done = Command(
        tmp_path, "-m", *QUICK, "data=digits", "logger=none", "tasks=1", "seed=1,2",
        f"paths.output_dir={quoted(name)}",
    )  # fmt: skip
    stdout, stderr = done.communicate()
    assert (done.returncode, stderr) == (0, "")
    assert {"seed=1", "seed=2"} <= {path.name for path in (tmp_path / name).iterdir()}
    assert f"sweep in {name}: 2 runs finished" in stdout


def test_a_folder_of_own_members_in_another_alphabet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    place = tmp_path / "größe" / "strategy"
    place.mkdir(parents=True)
    (place / "mine.yaml").write_text("# mine\ndefaults: [finetune]\n")
    done = Command(
        tmp_path, "--config-dir=~/größe", *QUICK, "strategy=mine", "data=digits", "logger=none",
        "tasks=1", "paths.output_dir=run",
    )  # fmt: skip
    _, stderr = done.communicate()
    assert (done.returncode, stderr) == (0, "")


def test_weights_are_asked_about_data_of_any_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for given, message in {
        ("data_dir=größe [x]", "data=digitz"): "data=digitz: there is no such member; did you mean",
        ("data=folder", "data.root=größe"): f"{tmp_path / 'x'}: no such file",
    }.items():
        assert evaluate.main([f"file={tmp_path / 'x'}", *given]) == 2
        told = capsys.readouterr().err
        assert told.startswith(f"error: {message}")
        assert told.count("\n") == 1


def test_signs_that_a_terminal_would_obey_are_shown() -> None:
    assert plain("a\x1b[2Jb\r\x07\u202ec\x85") == r"a\x1b[2Jb\r\x07\u202ec\x85"
    assert plain("größe שלום 日本 👩‍🔬\tx") == "größe שלום 日本 👩‍🔬\tx"


def test_home_is_found(tmp_path: Path) -> None:
    done = Command(
        tmp_path, *QUICK, "data=digits", "logger=none", "tasks=1", "paths.output_dir=~/run",
        HOME=str(tmp_path),
    )  # fmt: skip
    _, stderr = done.communicate()
    assert (done.returncode, stderr) == (0, "")
    assert (tmp_path / "run" / "results.json").exists()
