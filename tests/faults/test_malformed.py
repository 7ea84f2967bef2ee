"""Three hundred malformed inputs, made by a generator from their number.

Whatever it is, a command ends with 0 (what was wrong is healed, passed over, or harmless) or with 2
and one line; it leaves no half-written file, and touches nothing that is not its own.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import random
import shutil
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from lifelong import errors, run
from lifelong.comparison import compare
from lifelong.finished import evaluate, export
from lifelong.report import page as report
from lifelong.storage.files import sealed
from lifelong.storage.locks import LOCK
from lifelong.sweeps.study import STUDY, study_in
from tests.conftest import execute
from tests.faults.conftest import Tally

COUNTS = {
    "option": 60, "tree": 50, "archive": 40, "image": 40, "checkpoint": 30, "results": 30,
    "config": 30, "journal": 20,
}  # fmt: skip
SEED = os.environ.get("MALFORMED_SEED", "0")  # others make other inputs
CASES = [(kind, number) for kind, count in COUNTS.items() for number in range(count)]
MORE = [(kind, number + COUNTS[kind]) for kind, number in CASES]
SLOW = 10  # seconds
SMALL = ["strategy=finetune", "tasks=2", "epochs=1", "batch_size=16", "logger=none", "trainer=cpu"]
QUICK = [*SMALL, "data=digits", "data.fraction=0.2"]
OWN = [*SMALL, "batch_size=2", "data=folder", "data.tasks=2", "data.shape=[3,4,4]"]
OWN += ["data.validation=0"]


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "image", lambda figure, kind="png": b"image")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert execute(folder, *QUICK) == 0
    return folder


def test_there_are_three_hundred() -> None:
    assert len(CASES) == len(set(CASES)) == len(set(MORE)) == 300


def test_what_is_not_bent_is_learned(tmp_path: Path) -> None:
    small_tree(tmp_path / "images", random.Random(0))
    assert execute(tmp_path / "out", *OWN, f"data.root={tmp_path / 'images'}") == 0


@pytest.mark.parametrize(
    ("kind", "number"), [*CASES, *(pytest.param(*case, marks=pytest.mark.faults) for case in MORE)]
)
def test_malformed(
    kind: str,
    number: int,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tally: Tally,
) -> None:
    draw = random.Random(f"{SEED}/{kind}/{number}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.delenv(errors.DEBUG, raising=False)
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    work = KINDS[kind](draw, inputs, whole)
    before = state(inputs)
    capfd.readouterr()
    begun = time.monotonic()
    status = ended(work, monkeypatch)
    seconds = time.monotonic() - begun
    told = capfd.readouterr().err
    shown = f"{kind} {number}: {status}, {seconds:.1f} s\n{told}"
    tally("malformed", 1, status not in (0, 2))
    tally("tracebacks", 1, "Traceback" in told)
    tally("hangs", 1, seconds > SLOW)
    assert seconds < SLOW, shown
    assert status in (0, 2), shown
    assert "Traceback" not in told, shown
    if status == 2:
        assert told.startswith("error: "), shown
        assert told.count("\n") == 1, shown
        assert not (tmp_path / "out").exists(), shown
    else:
        assert "error" not in told, shown
    after = state(inputs)
    left = {path for path in after if path.name.startswith(".") and path.name.endswith(".tmp")}
    assert left <= before.keys(), shown
    if kind in ("tree", "archive", "image") or status == 2:
        assert after == before, shown
    if kind == "journal" and status == 0:
        assert all(json.loads(line) for line in (inputs / STUDY).read_bytes().splitlines())


def ended(work: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit status of a command; a list is what stands behind `python -m lifelong.run`."""
    if isinstance(work, list):
        monkeypatch.setattr(sys, "argv", ["lifelong.run", *work])
        work = run.main
    try:
        return int(work() or 0)
    except SystemExit as ending:
        return int(ending.code or 0)


def state(folder: Path) -> dict[Path, str]:
    """What is in a folder: a digest of each file, where links point."""
    found = {}
    for path in folder.rglob("*"):
        if path.name == LOCK:
            continue
        if path.is_symlink():
            found[path] = f"link {path.readlink()}"
        elif path.is_file():
            found[path] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def bent(content: bytes, draw: random.Random) -> bytes:
    """Bytes that a kill, a disk or a mistake changed."""
    place = draw.randrange(len(content) + 1)
    length = draw.randrange(1, 64)
    noise = draw.randbytes(length)
    ways: list[Callable[[], bytes]] = [
        lambda: b"",
        lambda: content[:place],
        lambda: content[place:],
        lambda: content[:place] + noise + content[place + length :],
        lambda: content[:place] + noise + content[place:],
        lambda: content[:place] + bytes(len(content) - place),
        lambda: noise,
        lambda: content.replace(b"\n", b"\r\n") if b"\0" not in content else content[:7],
        lambda: b"\xef\xbb\xbf" + content,
        lambda: bytes(255 - each for each in content[:200]) + content[200:],
    ]
    return draw.choice(ways)()


def altered(value: Any, draw: random.Random) -> Any:
    """A tree of plain values with something missing, or of another kind, somewhere."""
    top: Any = {"": json.loads(json.dumps(value))}
    node, place = top, ""
    while isinstance(node[place], dict | list) and node[place] and draw.random() < 0.85:
        node = node[place]
        place = draw.choice(list(node) if isinstance(node, dict) else range(len(node)))
    others = [None, 0, -1, 10**30, 1e308, True, "x", "", [], {}, [[1]], {"a": {}}, "${nope}"]
    if draw.random() < 0.4 and place != "":
        del node[place]
    else:
        node[place] = draw.choice(others)
    return top[""]


# -- what is bent ------------------------------------------------------------------------------


def option(draw: random.Random, inputs: Path, whole: Path) -> Any:
    """Of a command line."""
    keys = [
        *("strategy", "data", "backbone", "optimizer", "schedule", "trainer", "heads", "search"),
        *("lr", "seed", "epochs", "batch_size", "tasks", "name", "resume", "evaluate", "keep"),
        *("data.fraction", "data.shuffle_classes", "data.validation", "heads.hidden", "paths"),
        *("backbone.channels", "trainer.precision", "paths.data_dir", "seeds.init", "published"),
        *("stratgy", "data.nope", "x y", "", ".", "a.b.c", "hydra.run", "_target_", "é", "-"),
    ]
    values = [
        *(
            "",
            "nope",
            "-1",
            "0",
            "1e400",
            "nan",
            "inf",
            "null",
            "true",
            "[",
            "]",
            "{",
            "}",
            "{a:1}",
        ),
        *("[1,2]", "1,2", "a,b", "range(3)", "${x}", "${", "'", '"', "\\", "é", "\x00", "\n", "()"),
        *("interval(0,1)", "choice()", "glob(*)", "*", "~", "|", "1_000", "0x10", "!!python/none"),
        *("x" * 500, "../..", "/", "/dev/null", "\u202e", "<b>", "%s", "-", "--", "@", "#", "1 2"),
    ]
    signs = ["", "", "", "+", "~", "++", "-", "--"]
    text = f"{draw.choice(signs)}{draw.choice(keys)}={draw.choice(values)}"
    if draw.random() < 0.15:
        text = draw.choice([text.replace("=", ""), text.replace("=", "=="), "=", "--nope", "-x"])
    multirun = ["-m"] if draw.random() < 0.2 else []
    return [*multirun, *QUICK, "paths.output_dir=out", text.replace("\x00", "")]


def small_tree(root: Path, draw: random.Random, classes: int = 4) -> None:
    for part in ("train", "test"):
        for label in range(classes):
            for number in range(3):
                path = root / part / f"class{label}" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                shade = draw.randrange(256)
                Image.new("RGB", (4, 4), (shade, label, number)).save(path)


def tree(draw: random.Random, inputs: Path, whole: Path) -> Any:
    """Of a folder of images."""
    root = inputs / "images"
    small_tree(root, draw)
    for _ in range(draw.randrange(1, 4)):
        folders = [path for path in root.rglob("*") if path.is_dir()] or [root]
        images = [path for path in root.rglob("*.png") if path.is_file()]
        folder, image = draw.choice(folders), draw.choice(images or [root])
        if not image.is_file() or not folder.is_dir():
            continue
        ways: list[Callable[[], Any]] = [
            lambda f=folder: shutil.rmtree(f),
            lambda f=folder: f.rename(f.with_name(f"{f.name}é")),
            lambda f=folder: f.rename(f.with_name(draw.choice(["", ".", "_"]) + f"x{f.name}")),
            lambda i=image: i.unlink(),
            lambda i=image: i.write_bytes(bent(i.read_bytes(), draw)),
            lambda i=image: i.rename(i.with_suffix(draw.choice([".jpg", ".txt", "", ".PNG"]))),
            lambda f=folder: (f / "loop").symlink_to(root),
            lambda f=folder: (f / "gone.png").symlink_to("nowhere"),
            lambda f=folder: (f / draw.choice(["Thumbs.db", "x.csv", "a.heic"])).write_bytes(b"x"),
            lambda f=folder: (f / "0.png").mkdir(exist_ok=True),
            lambda f=folder: shutil.copytree(f, f.with_name(f"{f.name}2"), symlinks=True),
            lambda f=folder: (f / "empty").mkdir(exist_ok=True),
            lambda i=image: i.rename(root / i.name),
            lambda f=folder: os.mkfifo(f / "pipe.png"),
        ]
        try:
            draw.choice(ways)()
        except (OSError, RecursionError):  # what cannot be done to links
            continue
    return lambda: execute(inputs.parent / "out", *OWN, f"data.root={root}", data_dir(inputs))


def data_dir(inputs: Path) -> str:
    return f"paths.data_dir={inputs.parent / 'data'}"


def archive(draw: random.Random, inputs: Path, whole: Path) -> Any:
    """Of a zip file of images."""
    small_tree(inputs / "images", draw)
    path = inputs / "images.zip"
    with zipfile.ZipFile(
        path, "w", draw.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    ) as file:
        for image in sorted((inputs / "images").rglob("*.png")):
            name = image.relative_to(inputs / "images").as_posix()
            if draw.random() < 0.1:
                name = draw.choice(["../", "/", "C:\\", "__MACOSX/", "a/../../"]) + name
            file.writestr(name, image.read_bytes())
        if draw.random() < 0.3:
            link = zipfile.ZipInfo("train/class0/link.png")
            link.external_attr = 0o120777 << 16
            file.writestr(link, "/etc/passwd")
        if draw.random() < 0.3:
            file.writestr("train/class0/in.zip", b"PK\x03\x04")
    shutil.rmtree(inputs / "images")
    if draw.random() < 0.7:
        path.write_bytes(bent(path.read_bytes(), draw))
    return lambda: execute(inputs.parent / "out", *OWN, f"data.root={path}", data_dir(inputs))


def image(draw: random.Random, inputs: Path, whole: Path) -> Any:
    """Of one image."""
    root = inputs / "images"
    small_tree(root, draw)
    content = io.BytesIO()
    form = draw.choice(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
    mode = draw.choice(["RGB", "L", "P", "1"] if form in ("PNG", "GIF", "TIFF", "BMP") else ["RGB"])
    Image.new(mode, (draw.randrange(1, 40), draw.randrange(1, 40))).save(content, form)
    ending = draw.choice([form.lower(), "png", "jpg", "tif", "gif", "bmp", "webp", "eps", "svg"])
    path = root / "train" / "class1" / f"odd.{ending}"
    path.write_bytes(bent(content.getvalue(), draw))
    return lambda: execute(inputs.parent / "out", *OWN, f"data.root={root}", data_dir(inputs))


def copy_of(whole: Path, inputs: Path) -> Path:
    folder = inputs / "run"
    folder.mkdir()
    for path in whole.iterdir():
        if path.is_file():
            shutil.copy(path, folder / path.name)
    return folder


def reader(folder: Path, draw: random.Random, *more: str) -> Any:
    """A command that reads the run in a folder."""
    out = folder.parent.parent / "out"
    ways: dict[str, Callable[[], Any]] = {
        "evaluate": lambda: evaluate.main([f"run={folder}"]),
        "export": lambda: export.main([str(folder), str(out)]),
        "resume": lambda: execute(folder, *QUICK, "resume=auto"),
        "report": lambda: report.main([str(folder)]),
        "compare": lambda: compare.main([str(folder), f"out={folder}"]),
    }
    return ways[draw.choice(more or list(ways))]


def checkpoint(draw: random.Random, inputs: Path, whole: Path) -> Any:
    """Of a checkpoint, or something else in its place."""
    folder = copy_of(whole, inputs)
    for path in sorted(folder.glob("task_*.ckpt"))[-draw.choice([1, 1, 2]) :]:
        choice = draw.random()
        if choice < 0.7:
            path.write_bytes(bent(path.read_bytes(), draw))
        elif choice < 0.8:
            path.write_bytes(pickle.dumps({"state": print}))
        elif choice < 0.9:
            torch.save(draw.choice([{"a": torch.zeros(2)}, [1], None, torch.zeros(3)]), path)
        else:
            content = torch.load(path, weights_only=True)
            torch.save(dict(list(content.items())[: draw.randrange(len(content))]), path)
    if draw.random() < 0.6:  # it is read only where the run is not finished
        (folder / "results.json").unlink()
    return reader(folder, draw, "evaluate", "export", "resume")


def rewritten(
    path: Path, draw: random.Random, share: float, read: Callable[[str], Any],
    write: Callable[[Any], str],
) -> None:  # fmt: skip
    """Bends the bytes of a file in a share of the cases, else what it says."""
    if draw.random() < share:
        path.write_bytes(bent(path.read_bytes(), draw))
    else:
        path.write_text(write(altered(read(path.read_text()), draw)))


def results(draw: random.Random, inputs: Path, whole: Path) -> Any:
    """Of results.json."""

    def write(new: Any) -> str:
        if isinstance(new, dict) and draw.random() < 0.7:
            new = sealed(new)  # as if it had been written so
        return json.dumps(new)

    folder = copy_of(whole, inputs)
    rewritten(folder / "results.json", draw, 0.3, json.loads, write)
    return reader(folder, draw)


def config(draw: random.Random, inputs: Path, whole: Path) -> Any:
    """Of config.yaml."""
    folder = copy_of(whole, inputs)
    rewritten(folder / "config.yaml", draw, 0.4, yaml.safe_load, yaml.safe_dump)
    return reader(folder, draw, "evaluate", "export", "resume", "compare")


def journal(draw: random.Random, inputs: Path, whole: Path) -> Any:
    """Of a study."""
    import optuna

    study = study_in(inputs)
    for _ in range(3):
        trial = study.ask({"lr": optuna.distributions.FloatDistribution(0, 1)})
        study.tell(trial, 0.5)
    path = inputs / STUDY
    lines = path.read_bytes().splitlines(keepends=True)
    if draw.random() < 0.5:
        path.write_bytes(bent(path.read_bytes(), draw))
    else:
        place = draw.randrange(len(lines))
        lines[place] = json.dumps(altered(json.loads(lines[place]), draw)).encode() + b"\n"
        path.write_bytes(b"".join(lines))
    return lambda: errors.command(lambda: study_in(inputs) and 0)


KINDS: dict[str, Callable[[random.Random, Path, Path], Any]] = {
    "option": option, "tree": tree, "archive": archive, "image": image, "checkpoint": checkpoint,
    "results": results, "config": config, "journal": journal,
}  # fmt: skip
