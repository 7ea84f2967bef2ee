"""What the last word of a command line may become."""

from __future__ import annotations

from pathlib import Path

from lifelong.cli import COMMANDS
from lifelong.configuration.completion import words
from lifelong.configuration.members import groups, members


def test_lines_are_completed(tmp_path: Path) -> None:
    def after(line: str) -> list[str]:
        return words(line, list(COMMANDS))

    assert after("lifelong ") == list(COMMANDS)
    assert after("lifelong com") == ["compare", "completion"]
    assert after("lifelong list exp") == ["experiment"]
    assert {"strategy=", "seed=", "paths.output_dir="} <= set(after("lifelong run "))
    assert after("lifelong run strategy=ew") == ["strategy=ewc"]
    assert after("lifelong run -m strategy=er,ew") == ["strategy=er,ewc"]
    assert after("lifelong run experiment=tag/cub_e") == [
        f"experiment={name}" for name in members("experiment") if name.startswith("tag/cub_e")
    ]
    assert "strategy.em=" in after("lifelong run strategy=lasem_hps strategy.")
    assert "strategy.optimizer=" not in after("lifelong run strategy=lasem_hps strategy.")
    assert after("lifelong run evaluate=c") == ["evaluate=class"]
    assert after("lifelong compare x") == []
    (tmp_path / "strategy").mkdir()
    (tmp_path / "strategy" / "mine.yaml").write_text("a: 1\n")
    for sign in ("=", " "):
        assert after(f"lifelong run --config-dir{sign}{tmp_path} strategy=min") == ["strategy=mine"]
    assert "tables" not in groups()


def test_an_empty_line_has_no_ends() -> None:
    assert words("", ["run"]) == []


def test_options_of_a_member_on_a_page() -> None:
    line = "lifelong run transfer={} transfer.l"
    assert words(line.format("top2"), ["run"]) == words(line.format("all"), ["run"]) != []
