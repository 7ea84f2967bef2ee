"""The wheel, in an environment without the checkout: from another folder all of it is there."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from lifelong import __version__

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the source archive."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and the packages that it needs, and nothing of the checkout."""
    place = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place)], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "needed.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (wheel,) = built.glob("*.whl")
    into = [sys.executable, "-m", "pip", "--python", str(place / "bin" / "python")]
    command = [*into, "install", "--quiet", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(command, check=True, capture_output=True)
    return place


def test_the_archives_hold_what_is_needed_and_nothing_else(built: Path) -> None:
    (wheel,), (source,) = built.glob("*.whl"), built.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "lifelong/conf/config.yaml" in names
    assert "lifelong/conf/tables/tag/replay.yaml" in names
    assert [name for name in names if name.startswith("lifelong/plugins/hydra_plugins/")]
    assert not [name for name in names if name.startswith(("tests", "docs", "outputs", "data"))]
    with tarfile.open(source) as archive:
        roots = {name.split("/")[1] for name in archive.getnames() if "/" in name}
    assert {"lifelong", "conf", "README.md", "LICENSE", "pyproject.toml"} <= roots
    assert not {"outputs", "data", "build", ".venv"} & roots


def test_its_commands_work_from_another_folder(installed: Path, tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"OMP_NUM_THREADS": "1"}

    def lifelong(*words: str) -> str:
        done = subprocess.run(
            [str(installed / "bin" / "lifelong"), *words], cwd=tmp_path, env=environment,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    code = "import lifelong; print(lifelong.__file__)"
    where = subprocess.run(
        [str(installed / "bin" / "python"), "-c", code], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert where.stdout.startswith(str(installed))
    assert lifelong("--version") == f"{__version__}\n"
    assert "lasem_hps" in lifelong("list", "strategies")
    assert "tag/cub_er" in lifelong("list", "experiments", "cub")
    assert "complete" in lifelong("completion", "bash")
    (tmp_path / "own_method.py").write_text(
        'from lifelong import Strategy\n\nclass Own(Strategy):\n    """Fine-tuning."""\n'
    )
    own = ["strategy=finetune", "strategy._target_=own_method.Own", "name=own"]
    quick = ["data=digits", "tasks=1", "epochs=1", "logger=none"]
    assert "own on digits" in lifelong("run", *own, *quick, "paths.output_dir=own")
    short = ["strategy=er", "data=digits", "tasks=2", "epochs=1", "logger=none"]
    lifelong("run", "-m", *short, "seed=1,2", "paths.output_dir=sweep")
    assert "| `er` | 2 |" in lifelong("compare", "sweep")
    assert lifelong("report", "sweep/seed=1") == "sweep/seed=1/report.html\n"


def test_the_version_is_the_same_wherever_it_is_said() -> None:
    for name, text in (
        ("README.md", f"version = {{{__version__}}}"),
        ("CITATION.cff", f"version: {__version__}\n"),
        ("CHANGELOG.md", f"## {__version__} ("),
    ):
        assert text in (ROOT / name).read_text(encoding="utf-8"), name


def test_what_the_image_is_made_of_is_there() -> None:
    """The files that Dockerfile copies, which .dockerignore lets through."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line.split() for line in text.splitlines()]
    names = {name for line in lines if line[:1] == ["COPY"] for name in line[1:-1]}
    through = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {f"!{name}" for name in names} == {name for name in through if name.startswith("!")}
    assert all((ROOT / name).exists() for name in names)
