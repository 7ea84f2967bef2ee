"""The page of a comparison."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lifelong.comparison.compare import main
from tests.comparison.finished_runs import run


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
