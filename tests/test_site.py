"""The site: every page and link of it, nothing from a network; what is drawn of results/."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


def script(name: str) -> ModuleType:
    """A module of scripts/."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it: each warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_has_options_public_names_and_a_search(site: Path) -> None:
    options = (site / "reference" / "configuration.html").read_text(encoding="utf-8")
    assert "strategy=lasem_hps" in options
    names = (site / "reference" / "api.html").read_text(encoding="utf-8")
    assert 'id="lifelong.training.learn.learn"' in names
    assert "getfixture" not in names.partition("<blockquote>")[2]  # examples are code
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    assert "Memory aware synapses" in index
    start = (site / "index.html").read_text(encoding="utf-8")
    assert "assets/worker.js" in start
    assert "unpkg" not in start
    ledger = (ROOT / "results" / "ledger.csv").read_text(encoding="utf-8")
    assert (site / "results" / "ledger.csv").read_text(encoding="utf-8") == ledger


def test_formulas_are_drawn_without_a_script(site: Path) -> None:
    """No command of LaTeX is left over in one."""
    found = 0
    for path in site.rglob("*.html"):
        for formula in re.findall(r"<math.*?</math>", path.read_text(encoding="utf-8"), re.DOTALL):
            assert "\\" not in re.sub(r"<[^>]+>", "", formula), (path.name, formula)
            found += 1
    assert found > 50


def test_pages_show_what_results_hold(capsys: pytest.CaptureFixture[str]) -> None:
    """`python scripts/draw_ledger.py` was run after the ledger changed."""
    assert script("draw_ledger").main(["--check"]) == 0, capsys.readouterr().out


def test_a_page_that_is_behind_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    module = script("draw_ledger")
    page = tmp_path / "page.md"
    page.write_text("<!-- results: row=digits/class_er -->\n<!-- end of results -->\n")
    monkeypatch.setattr(module, "PAGES", [page])
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "Results", lambda made=module.Results: _of(made))
    assert module.main(["--check"]) == 1
    assert capsys.readouterr().out.startswith("page.md: is not as results/ says")
    assert module.main([]) == 0
    text = page.read_text()
    assert "| `digits/class_er` | final % |" in text
    assert module.main(["--check"]) == 0


def _of(made: type) -> object:
    """The results of the checkout, wherever pages lie."""
    module = sys.modules["draw_ledger"]
    kept, module.ROOT = module.ROOT, ROOT  # type: ignore[attr-defined]
    try:
        return made()
    finally:
        module.ROOT = kept  # type: ignore[attr-defined]
