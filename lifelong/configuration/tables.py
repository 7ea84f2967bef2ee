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

`conf/tables/<group>.yaml` has members of a group that differ in little: `title` and `config` of
each, and `package: _global_` where it sets options of other groups, too.
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


Row = dict[str, Any]  # `title`, `note` and `config`


@functools.cache
def rows(folder: Path, group: str = GROUP) -> dict[str, Row]:
    """The members of a group on the pages of a folder, by name; none for most groups."""
    if group != GROUP:
        page = folder / f"{group}.yaml"
        return {n: {"note": None, **row} for n, row in _read(page).items()} if page.exists() else {}
    found: dict[str, Row] = {}
    for path in sorted(folder.glob("*/*.yaml")):
        found |= _cells(path)
    return found


def _read(path: Path) -> dict[str, Any]:
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    with path.open(encoding="utf-8") as file:
        found: dict[str, Any] = yaml.load(file, loader)
    return found


def _cells(path: Path) -> dict[str, Row]:
    page, found = _read(path), {}
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
                "stream": f"{path.parent.name}/{stream_key}",
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


def chosen(row: Mapping[str, Any]) -> dict[str, str]:
    """The members that the configuration of a row chooses, by group.

    >>> chosen({"defaults": [{"override /data": "digits"}, {"override /strategy": "er"}]})
    {'data': 'digits', 'strategy': 'er'}
    """
    pairs = (pair for part in row["defaults"] for pair in part.items())
    return {key.removeprefix("override /"): str(member) for key, member in pairs}


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


def text(name: str, row: Mapping[str, Any], group: str = GROUP) -> str:
    """A row as a file of its own."""
    head = f"# {line(row)}\n#   lifelong run {group}={name}\n"
    head = "# @package _global_\n" * (_package(row, group) is not None) + head
    body: str = yaml.safe_dump(row["config"], sort_keys=False, default_flow_style=None)
    return head + body


def _package(row: Mapping[str, Any], group: str) -> str | None:
    """Where the content of a row goes; None for its group."""
    found: str | None = row.get("package", "_global_" if group == GROUP else None)
    return found


class TableSource(ConfigSource):
    """Serves the rows of a folder of pages to Hydra, as files of their groups."""

    @staticmethod
    def scheme() -> str:
        return "tables"

    def load_config(self, config_path: str) -> ConfigResult:
        group, name = self._parted(config_path)
        found = rows(Path(self.path), group)
        if name not in found:
            raise ConfigLoadError(f"{config_path}: no page has such a row")
        return ConfigResult(
            config=OmegaConf.create(found[name]["config"]),
            path=self.full_path(),
            provider=self.provider,
            header={"package": _package(found[name], group)},
        )

    def is_group(self, config_path: str) -> bool:
        group, paper = self._parted(config_path)
        if group == GROUP:
            return not paper or (Path(self.path) / paper).is_dir()
        return not group or (not paper and bool(rows(Path(self.path), group)))

    def is_config(self, config_path: str) -> bool:
        group, name = self._parted(config_path)
        return name in rows(Path(self.path), group)

    def available(self) -> bool:
        return Path(self.path).is_dir()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        group, below = self._parted(config_path)
        inside = sorted(path.name for path in Path(self.path).glob("*/"))
        pages = sorted(path.stem for path in Path(self.path).glob("*.yaml"))
        groups = [GROUP, *pages] if not group else inside if group == GROUP and not below else []
        known = rows(Path(self.path), group) if group and not groups else {}
        start = f"{below}/" if below else ""
        names = [name.removeprefix(start) for name in known if name.startswith(start)]
        return [
            *(groups if results_filter is not ObjectType.CONFIG else []),
            *(sorted(names) if results_filter is not ObjectType.GROUP else []),
        ]

    @staticmethod
    def _parted(config_path: str) -> tuple[str, str]:
        """Group and name of a path of Hydra's."""
        group, _, name = config_path.strip("/").partition("/")
        return group, name.removesuffix(".yaml")
