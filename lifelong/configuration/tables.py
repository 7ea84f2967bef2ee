"""Published tables: a page of rows and streams, of which each cell is an experiment.

A page, `conf/tables/<paper>/<table>.yaml`, reads like the table of the paper:

    streams:
      cub: {title: CUB, choose: {data: split_cub}}
    rows:
      er:
        title: ER
        choose: {strategy: er}
        set: {fidelity: authors}
        cells:
          cub: {final_accuracy: [59.25, 0.82]}

Of it comes `experiment=<paper>/cub_er`: the members that page, stream, row and cell `choose`, and
what they `set`, the later before the earlier. A cell is what was published: figures as `[mean,
deviation]`, a text in their place, or nothing. Where it differs from its row, it says so under
`choose`, `set` and `title`.
`members` is the pattern of the names, `{stream}_{row}` by default, and `name` that of the method.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf

GROUP = "experiment"
_OWN = ("title", "note", "choose", "set")  # keys of a cell that are no published figures
_TOLD = {  # published figures that a line tells, by their names there
    "final_accuracy": "accuracy",
    "peak_accuracy": "peak accuracy",
    "average_accuracy": "average accuracy",
    "forgetting": "forgetting",
    "forgetting_ratio": "ratio",
    "learning_accuracy": "learning",
    "backward_transfer_with_last": "backward transfer",
}


@functools.cache
def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """The experiments of all pages below a folder, by name: `title`, `note` and `config`."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("*/*.yaml")):
        found |= _cells(path)
    return found


def _cells(path: Path) -> dict[str, dict[str, Any]]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with path.open(encoding="utf-8") as file:
        page = yaml.load(file, loader)
    found = {}
    for row_key, row in page["rows"].items():
        for stream_key, cell in row["cells"].items():
            stream = page["streams"][stream_key]
            cell = {"note": cell} if isinstance(cell, str) else cell or {}
            parts: list[dict[str, Any]] = [page, stream, row, cell]
            keys = {"stream": stream_key, "row": row_key}
            member = page.get("members", "{stream}_{row}").format(**keys)
            names = [part["name"] for part in parts[:3] if "name" in part]
            name = names[-1] if names else "{row}"
            config = _config(parts, name.format(**keys))
            found[f"{path.parent.name}/{member}"] = {
                "title": cell.get("title", f"{stream['title']}, {row['title']}"),
                "note": cell.get("note"),
                "config": config,
            }
    return found


def _config(parts: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    chosen: dict[str, str] = {}
    config: dict[str, Any] = {"name": name}
    for part in parts:
        chosen |= part.get("choose", {})
        config = _merged(config, part.get("set", {}))
    published = {key: value for key, value in parts[-1].items() if key not in _OWN}
    defaults = [{f"override /{group}": member} for group, member in chosen.items()]
    return {"defaults": defaults, **config, **({"published": published} if published else {})}


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(first)
    for key, value in second.items():
        below = merged.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            value = _merged(below, value)
        merged[key] = value
    return merged


def line(row: Mapping[str, Any]) -> str:
    """What a row is, with the figures that were published."""
    published = row["config"].get("published", {})
    told = [
        f"{name} {mean}" + (f" +- {deviation}" if deviation is not None else "")
        for key, name in _TOLD.items()
        for mean, deviation in [published.get(key, (None, None))]
        if mean is not None
    ]
    notes = [f"published {', '.join(told)}"] if told else filter(None, [row["note"]])
    return "; ".join([str(row["title"]), *notes])


def text(name: str, row: Mapping[str, Any]) -> str:
    """A row as a file of its own."""
    head = f"# @package _global_\n# {line(row)}\n#   python -m lifelong.run experiment={name}\n"
    body: str = yaml.safe_dump(row["config"], sort_keys=False, default_flow_style=None)
    return head + body


class TableSource(ConfigSource):
    """Serves the rows of a folder of pages to Hydra, as files of `experiment/`."""

    @staticmethod
    def scheme() -> str:
        return "tables"

    def load_config(self, config_path: str) -> ConfigResult:
        name = self._name(config_path)
        if name not in rows(Path(self.path)):
            raise ConfigLoadError(f"{config_path}: no page has such a row")
        return ConfigResult(
            config=OmegaConf.create(rows(Path(self.path))[name]["config"]),
            path=self.full_path(),
            provider=self.provider,
            header={"package": "_global_"},
        )

    def is_group(self, config_path: str) -> bool:
        group, _, paper = config_path.strip("/").partition("/")
        return not group or (group == GROUP and (not paper or (Path(self.path) / paper).is_dir()))

    def is_config(self, config_path: str) -> bool:
        name = self._name(config_path)
        return "/" in name and name in rows(Path(self.path))

    def available(self) -> bool:
        return Path(self.path).is_dir()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        below = f"{config_path.strip('/')}/".removeprefix(f"{GROUP}/")
        if config_path in ("", "/"):
            return [] if results_filter is ObjectType.CONFIG else [GROUP]
        if not below:
            papers = [path.name for path in Path(self.path).glob("*/")]
            return [] if results_filter is ObjectType.CONFIG else sorted(papers)
        known = rows(Path(self.path))
        names = [name.removeprefix(below) for name in known if name.startswith(below)]
        return [] if results_filter is ObjectType.GROUP else sorted(names)

    @staticmethod
    def _name(config_path: str) -> str:
        """Of a path of Hydra's; empty for one that is no experiment's."""
        group, _, name = config_path.strip("/").partition("/")
        return name.removesuffix(".yaml") if group == GROUP else ""
