"""What the site holds beside docs/: called by mkdocs, see mkdocs.yml.

- pages made of what lies outside: README.md, which is the first, REPRODUCIBILITY.md, CHANGELOG.md,
  CONTRIBUTING.md, the members of conf/, the public names of the package;
- notebooks as pages, with what they printed when they were run last;
- links to files outside docs/ become links to those pages, or the name of the file;
- formulas between dollar signs become MathML, which browsers draw without a script.
"""

from __future__ import annotations

import html
import inspect
import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
OUTSIDE = {  # pages of files outside docs/
    "REPRODUCIBILITY.md": "reproducibility.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "results/ledger.csv": "results/ledger.csv",
    "README.md": "index.md",
}
SECTIONS = {  # of the public names, by the modules that hold them
    "Running and reading back": ("training", "finished", "comparison"),
    "Data": ("data",),
    "Bodies and networks": ("backbones", "networks"),
    "Methods": ("strategies",),
    "Memories, importances, tickets": ("parts",),
    "Optimizers": ("optim",),
    "Measures": ("measures",),
}
MATH = re.compile(
    r"(?P<code>```.*?```|`[^`\n]*`)|\$\$(?P<block>.+?)\$\$|\$(?P<line>[^$\s](?:[^$\n]*[^$\s])?)\$",
    re.S,
)
THEIRS = "https://unpkg.com/iframe-worker/shim"  # of the theme's plugin `offline`
ASKED = re.compile(
    r'<(?:script|img|iframe)[^>]+src="(https?:[^"]+)"|<link[^>]+rel="stylesheet"[^>]+href="(https?:[^"]+)"'
)
LINK = re.compile(r"(!?\[[^\]\n]*\])\(([^)\s#]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are made."""
    made = {page: (ROOT / path).read_text(encoding="utf-8") for path, page in OUTSIDE.items()}
    made |= {
        "reference/configuration.md": "\n".join(configuration()),
        "reference/experiments.md": "\n".join(experiments()),
        "reference/api.md": "\n".join(interface()),
    }
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        made[f"notebooks/{path.stem}.md"] = "\n\n".join(notebook(cells, path.name))
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def notebook(cells: list[dict[str, Any]], name: str) -> Iterator[str]:
    """A notebook as Markdown."""
    for number, cell in enumerate(cells):
        text = "".join(cell["source"])
        if cell["cell_type"] == "code":
            yield f"```python\n{text}\n```"
            yield from map(printed, cell["outputs"])
            continue
        head, _, rest = text.partition("\n")
        yield f"{head}\n\n[As a notebook]({name})\n{rest}" if number == 0 else text


def printed(output: dict[str, Any]) -> str:
    """What a cell printed or gave."""
    if output["output_type"] == "stream":
        return f"```text\n{''.join(output['text']).rstrip()}\n```"
    data = output["data"]
    if "text/html" in data:
        return "".join(data["text/html"])
    return f"```text\n{''.join(data['text/plain'])}\n```"


def configuration() -> Iterator[str]:
    """Every group of conf/ with its members, each as a file of its own."""
    from lifelong.configuration.compose import FOLDER
    from lifelong.configuration.members import groups, members

    yield "# Configuration\n"
    yield "Made of `conf/`. `lifelong run --copy MEMBER FOLDER` copies a member, to be changed.\n"
    yield "## Options of every run\n"
    yield from code((FOLDER / "config.yaml").read_text(encoding="utf-8"))
    for group in groups():
        if group == "experiment":
            continue
        yield f"\n## `{group}`\n"
        for name, member in members(group).items():
            yield f'??? note "`{group}={name}`: {plain(member.summary())}"\n'
            yield from (f"    {line}" for line in code(member.text()))
            yield ""


def experiments() -> Iterator[str]:
    """The rows of published tables."""
    from lifelong.configuration.members import members

    yield "# Experiments\n"
    yield "`lifelong run experiment=<name>`; `lifelong list experiments tag cub` lists some.\n"
    yield "| `experiment=` | what it is |\n| --- | --- |"
    for name, member in members("experiment").items():
        yield f"| `{name}` | {plain(member.summary())} |"


def interface() -> Iterator[str]:
    """The public names of the package, from their docstrings."""
    import lifelong

    yield "# From Python: all public names\n"
    yield "`import lifelong`; each is `lifelong.<name>`.\n"
    yield str(lifelong.__doc__).rpartition("\n\n")[2]
    rooms: dict[str, list[str]] = {}
    for name in lifelong.__all__:
        found = getattr(lifelong, name)
        if inspect.isclass(found) or inspect.isfunction(found):
            room = found.__module__.split(".")[1]
            rooms.setdefault(room, []).append(f"{found.__module__}.{found.__qualname__}")
    for title, wanted in SECTIONS.items():
        yield f"\n## {title}\n"
        for room in wanted:
            yield from (f"::: {path}\n" for path in sorted(rooms.pop(room), key=by_name))
    if rooms:
        raise ValueError(f"public names of {', '.join(rooms)} are in no section")


def by_name(path: str) -> str:
    """The last part of a path, in small letters."""
    return path.rpartition(".")[2].lower()


def code(text: str) -> list[str]:
    """YAML as a block."""
    return ["```yaml", *text.rstrip().splitlines(), "```"]


def plain(text: str) -> str:
    """A line for a cell or a title."""
    return text.replace("|", r"\|").replace('"', "'")


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links and formulas as the site needs them."""
    return MATH.sub(formula, LINK.sub(lambda found: link(found, page), markdown))


def link(found: re.Match[str], page: Page) -> str:
    """A link that stays inside; the name of a file that is not in the site."""
    text, target, anchor = found[1], found[2], found[3] or ""
    if re.match(r"[a-z]+:", target):
        return found[0]
    source = page.file.src_uri
    own = {made: path for path, made in OUTSIDE.items()}.get(source)
    here = posixpath.dirname(own or f"docs/{source}")
    path = posixpath.normpath(posixpath.join(here, target))
    if path in OUTSIDE:
        inside = OUTSIDE[path]
    elif path.startswith("docs/"):
        inside = path.removeprefix("docs/")
    else:
        return f"`{path}`" if not text.startswith("!") else found[0]
    return f"{text}({posixpath.relpath(inside, posixpath.dirname(source) or '.')}{anchor})"


def formula(found: re.Match[str]) -> str:
    """A formula as MathML; code as it is."""
    if found["code"] is not None:
        return found[0]
    if found["block"] is not None:
        return convert(found["block"].strip(), display="block")
    return convert(found["line"])


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Nothing of a page comes from a network: what the theme takes from there is ours."""
    above = posixpath.relpath("assets/worker.js", posixpath.dirname(page.file.dest_uri) or ".")
    output = output.replace(THEIRS, above)
    for found in map("".join, ASKED.findall(output)):
        raise ValueError(f"{page.file.src_uri}: asks the network for {html.unescape(found)}")
    return output
