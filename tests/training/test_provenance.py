"""Where a run took place."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import lifelong
from lifelong.training.provenance import PACKAGES, continued, environment


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as if it lay in this folder, outside a checkout."""
    monkeypatch.setattr(lifelong, "__file__", str(tmp_path / "lifelong" / "__init__.py"))
    monkeypatch.setattr(sys, "argv", ["run.py", "lr=0.1", "name=a b"])
    return tmp_path


def test_what_is_noted_of_a_run(installed: Path) -> None:
    found = environment()
    assert found["command"] == "python -m lifelong.run lr=0.1 'name=a b'"
    assert found["packages"] == {name: version(name) for name in PACKAGES}
    assert found["python"] == platform.python_version()
    assert found["threads"] == torch.get_num_threads()
    assert found["lifelong"] == lifelong.__version__
    assert found["commit"] is None


@pytest.mark.parametrize(
    ("asked", "there", "noted"),
    [("CPU", True, "cpu"), ("GPU", True, "H"), ("GPU", False, "cpu"), ("mps", False, "mps")],
)
def test_the_device_is_that_of_the_run(
    monkeypatch: pytest.MonkeyPatch, asked: str, there: bool, noted: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "H")
    assert environment(asked)["device"] == noted


def test_parts_of_a_run_are_told_apart_where_something_changed() -> None:
    first, second = {"device": "H", "commit": "1", "command": "a"}, {"device": "cpu", "commit": "1"}
    again = second | {"command": "c"}
    both = continued(second | {"command": "b"}, first)
    assert both["before"] == [first]
    assert continued(again, both) == again | {"before": [first]}  # only the command is another
    later = continued(first | {"commit": "2"}, continued(again, both))
    assert [part["device"] for part in later["before"]] == ["H", "cpu"]
    assert "before" not in continued(first, first)


@pytest.mark.parametrize(("changes", "expected"), [("", "abc"), (" M lifelong/run.py\n", "abc+")])
def test_the_commit_of_a_checkout_and_whether_it_has_changes(
    installed: Path, monkeypatch: pytest.MonkeyPatch, changes: str, expected: str
) -> None:
    (installed / ".git").mkdir()
    said = {"rev-parse": "abc\n", "status": changes}

    def run(words: list[str], **options: Any) -> Any:
        assert words[:3] == ["git", "-C", str(installed)]
        return SimpleNamespace(stdout=said[words[3]])

    monkeypatch.setattr(subprocess, "run", run)
    assert environment()["commit"] == expected

    def absent(words: list[str], **options: Any) -> Any:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", absent)
    assert environment()["commit"] is None
