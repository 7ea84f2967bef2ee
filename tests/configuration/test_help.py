"""The page that --help prints."""

from __future__ import annotations

from pathlib import Path

import yaml

from lifelong.configuration.compose import FOLDER
from lifelong.configuration.help import GROUPS, guide


def test_every_option_at_the_top_level_stands_with_its_default() -> None:
    """Those that the file itself tells of, and none that the run fills in."""
    page = guide()
    below = page[page.index("options at the top level") :]
    told = {line.split("=")[0].strip(): line for line in below.splitlines() if "=" in line}
    top = yaml.safe_load((FOLDER / "config.yaml").read_text())
    for key in ("seed", "tasks", "evaluate", "checkpoint_every", "keep"):
        value = {None: "null"}.get(top[key], str(top[key]))
        assert told[key].split()[0] == f"{key}={value}"
    assert "of finished tasks" in told["keep"]
    assert "seeds.init=${seed}" in told["seeds.init"]
    assert not {"choices", "changed", "threads", "cuda_graphs"} & told.keys()


def test_groups_come_in_their_order_and_ones_own_members_with_them(tmp_path: Path) -> None:
    (tmp_path / "strategy").mkdir()
    (tmp_path / "strategy" / "mine.yaml").write_text("# a method of mine\n_target_: my.Mine\n")
    page = guide(str(tmp_path))
    places = [page.index(f"\n{group}=  {what}\n") for group, what in GROUPS.items()]
    assert places == sorted(places)
    line = next(line for line in page.splitlines() if line.startswith("    mine "))
    assert line.split(maxsplit=1)[1] == "a method of mine"
    assert "    mine " not in guide()
    assert max(len(line) for line in page.splitlines()) <= 100
