"""What the pages say of the code is there."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import lifelong

ROOT = Path(__file__).parents[1]
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


@cache
def known() -> dict[str, Any]:
    """Modules, by the last part of their names, and classes of the package."""
    found: dict[str, Any] = {}
    for info in pkgutil.walk_packages(lifelong.__path__, "lifelong."):
        if "hydra_plugins" in info.name or info.name.startswith("lifelong.conf"):
            continue
        module = importlib.import_module(info.name)
        found[info.name.rpartition(".")[2]] = module
        found |= {
            name: member
            for name, member in inspect.getmembers(module, inspect.isclass)
            if member.__module__ == module.__name__
        }
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_names_in_the_pages_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for owner, name in re.findall(r"`([A-Za-z_]+)\.([A-Za-z_]+)(?:\([^`]*\))?`", text):
        if owner in known() and (owner[0].isupper() or owner == "units"):
            source = inspect.getsource(known()[owner])
            above = getattr(known()[owner], name, None) is not None
            assert above or re.search(rf"\b{name}\b", source), f"{owner}.{name}"
    for path in re.findall(r"`((?:lifelong|scripts|conf|tests)/[\w/]+\.\w+)`", text):
        assert (ROOT / path).exists(), path
    for path in re.findall(r"\]\(([\w/.-]+\.(?:md|png))\)", text):
        assert (page.parent / path).exists(), path


METHODS = [*(ROOT / "lifelong/strategies").glob("*.py"), *(ROOT / "lifelong/optim").glob("*.py")]
INTERFACE = ("learner.py",)  # what every method stands on


@pytest.mark.parametrize("file", METHODS, ids=lambda file: file.name)
def test_a_method_is_at_most_150_lines_of_code(file: Path) -> None:
    """Docstrings, comments and empty lines aside."""
    source = file.read_text(encoding="utf-8")
    told = {
        line
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node)
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    code = [
        line
        for number, line in enumerate(source.splitlines(), 1)
        if line.strip() and number not in told and not line.lstrip().startswith("#")
    ]
    assert len(code) <= 150 or file.name in INTERFACE


def test_a_constructor_has_at_most_eight_options_of_its_own() -> None:
    for name, member in known().items():
        method = inspect.isclass(member) and issubclass(member, lifelong.Strategy)
        if not method or "__init__" not in vars(member):
            continue
        own = [
            each.name
            for each in inspect.signature(vars(member)["__init__"]).parameters.values()
            if each.kind is each.KEYWORD_ONLY
        ]
        assert len(own) <= 8, f"{name}: {own}"
