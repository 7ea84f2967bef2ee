"""Published tables: of which page, row, stream and cell an experiment is made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError

from lifelong.configuration.tables import TableSource, line, rows, text

PAGE = """
choose: {optimizer: sgd, backbone: mlp}
set: {epochs: 1, heads: {hidden: [5], dropout: 0.1}}
streams:
  cub: {title: CUB, choose: {data: split_cub}, set: {epochs: 2}}
  digits: {title: Digits, choose: {data: digits}, name: "{row} on {stream}"}
rows:
  er:
    title: ER
    choose: {strategy: er, optimizer: adam}
    set: {lr: 0.1, heads: {dropout: 0.5}}
    cells:
      cub: {final_accuracy: [59.25, 0.82], forgetting: [3, null], set: {lr: 0.2}}
      digits: not measured
  ewc:
    title: EWC
    choose: {strategy: ewc}
    cells:
      cub:
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "paper").mkdir()
    (tmp_path / "paper" / "table.yaml").write_text(PAGE)
    return tmp_path


def chosen(config: dict[str, Any]) -> dict[str, str]:
    entries = [entry for one in config["defaults"] for entry in one.items()]
    return {key.removeprefix("override /"): member for key, member in entries}


def test_the_later_part_comes_before_the_earlier(folder: Path) -> None:
    """Page, stream, row, cell; what they set is merged at every depth."""
    found = rows(folder)
    assert set(found) == {"paper/cub_er", "paper/digits_er", "paper/cub_ewc"}
    config = found["paper/cub_er"]["config"]
    assert chosen(config) == {
        "optimizer": "adam", "backbone": "mlp", "data": "split_cub", "strategy": "er"
    }  # fmt: skip
    assert (config["epochs"], config["lr"]) == (2, 0.2)
    assert config["heads"] == {"hidden": [5], "dropout": 0.5}
    assert config["published"] == {"final_accuracy": [59.25, 0.82], "forgetting": [3, None]}
    assert config["name"] == "er"
    other = found["paper/digits_er"]
    assert (other["title"], other["note"]) == ("Digits, ER", "not measured")
    assert other["config"]["name"] == "er on digits"
    assert other["config"]["epochs"] == 1
    assert "published" not in found["paper/cub_ewc"]["config"]
    assert found["paper/cub_ewc"]["config"]["heads"]["dropout"] == 0.1  # pages are not changed


def test_a_row_tells_what_was_published(folder: Path) -> None:
    found = rows(folder)
    told = "CUB, ER; published accuracy 59.25 +- 0.82, forgetting 3"
    assert line(found["paper/cub_er"]) == told
    assert line(found["paper/digits_er"]) == "Digits, ER; not measured"
    assert line(found["paper/cub_ewc"]) == "CUB, EWC"
    content = text("paper/cub_er", found["paper/cub_er"])
    assert content.startswith(f"# @package _global_\n# {told}\n")
    assert "experiment=paper/cub_er\n" in content
    assert yaml.safe_load(content) == found["paper/cub_er"]["config"]


def test_hydra_finds_rows_as_files(folder: Path) -> None:
    source = TableSource("tables", f"tables://{folder}")
    assert source.available()
    assert source.list("", None) == source.list("/", ObjectType.GROUP) == ["experiment"]
    assert source.list("experiment", ObjectType.GROUP) == ["paper"]
    assert source.list("experiment/paper", ObjectType.CONFIG) == ["cub_er", "cub_ewc", "digits_er"]
    assert source.list("experiment", ObjectType.CONFIG) == []
    for path, group, config in (
        ("experiment", True, False),
        ("experiment/paper", True, False),
        ("experiment/paper/cub_er", False, True),
        ("experiment/nobody", False, False),
        ("strategy/er", False, False),
    ):
        assert (source.is_group(path), source.is_config(path)) == (group, config), path
    result = source.load_config("experiment/paper/cub_er.yaml")
    assert result.header == {"package": "_global_"}
    assert result.config.lr == 0.2  # type: ignore[union-attr]
    with pytest.raises(ConfigLoadError, match="no page has such a row"):
        source.load_config("experiment/paper/none")
    assert not TableSource("tables", f"tables://{folder}/none").available()
