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
from lifelong.training.provenance import PACKAGES, environment


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
