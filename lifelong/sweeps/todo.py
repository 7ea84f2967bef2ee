"""What of published tables has not been run, by what an hour of a core gives."""

from __future__ import annotations

import functools
import shlex
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from lifelong.comparison.ledger import Line, published_figures
from lifelong.configuration.compose import FOLDER
from lifelong.configuration.tables import chosen

UNKNOWN = 3600.0  # seconds that a run is taken to last where nothing is known


@dataclass
class Open:
    """A row of which seeds are left.

    Attributes:
        row: such as `tag/cifar100_er`.
        stream: the member of `data=`.
        figures: published ones.
        done: seeds that the ledger has.
        left: seeds to run, the next first.
        seconds: of training of a run; None where nothing is known.
        how: `measured`, `begun` (what was run of one is the measure), `like` (rows of the same
            stream and body), `over` (a reduced run of its own took longer than they say) or
            `unknown`.
    """

    row: str
    stream: str
    figures: int
    done: int
    left: list[int] = field(default_factory=list)
    seconds: float | None = None
    how: str = "unknown"

    @property
    def value(self) -> float:
        """Published figures that an hour of the next run gives; the n-th seed counts 1/n."""
        cost = UNKNOWN if self.seconds is None else max(self.seconds, 1.0)
        return 3600 / cost * self.figures / (self.done + 1)


def todo(
    rows: Mapping[str, Mapping[str, Any]], lines: Sequence[Line], seeds: Sequence[int], device: str
) -> list[Open]:
    """The rows with published figures of which seeds are left, the most valuable first.

    Args:
        rows: configurations by name, see `lifelong.configuration.tables.rows`.
        lines: of the ledger; runs of a row that is not changed count, on whatever machine.
        seeds: wanted.
        device: whose times count, `cpu` or another.
    """
    found, done = list[Open](), dict[str, set[int]]()
    for line in lines:
        if not line["changed"] and line["seeds"]:
            done.setdefault(line["row"], set()).update(map(int, line["seeds"].split(",")))
    for row, config in rows.items():
        figures = published_figures(config.get("published"))
        left = [seed for seed in seeds if seed not in done.get(row, ())]
        if figures and left:
            had = len(done.get(row, ()))
            found.append(Open(row, stream_of(config), len(figures), had, left))
    times = [line for line in lines if "," not in line["device"]]  # of one device
    _time(found, rows, [line for line in times if (line["device"] == "cpu") == (device == "cpu")])
    return sorted(found, key=lambda each: (-each.value, each.row))


def _time(
    found: Sequence[Open], rows: Mapping[str, Mapping[str, Any]], lines: Sequence[Line]
) -> None:
    """What a run of each row lasts, as far as the ledger says."""
    own: dict[str, tuple[float, str]] = {}
    alike: dict[tuple[str, str], list[float]] = {}  # seconds an epoch, by stream and body
    for line in lines:
        if line["row"] in rows and not line["changed"]:
            how = "measured" if line["seeds"] else "begun"
            own[line["row"]] = float(line["seconds"]), how
    for row, (seconds, _) in own.items():
        alike.setdefault(_kind(rows[row]), []).append(seconds / _epochs(rows[row]))
    for each in found:
        others = alike.get(_kind(rows[each.row]))
        if each.row in own:
            each.seconds, each.how = own[each.row]
        elif others:
            each.seconds = statistics.median(others) * _epochs(rows[each.row])
            each.how = "like"
            least = _least(each.row, rows[each.row], lines)
            if each.seconds < least:
                each.seconds, each.how = least, "over"


def _least(row: str, config: Mapping[str, Any], lines: Sequence[Line]) -> float:
    """Seconds that reduced runs of a row took, brought to its epochs; 0 where none was run."""
    found = [0.0]
    for line in lines:
        if line["row"] == row and line["changed"]:
            given = dict(text.partition("=")[::2] for text in shlex.split(line["changed"]))
            epochs = float(given.get("epochs") or _epochs(config))
            found.append(float(line["seconds"]) / epochs * _epochs(config))
    return max(found)


def stream_of(config: Mapping[str, Any]) -> str:
    """The member of `data=` of a row."""
    return chosen(config).get("data", "")


def _kind(config: Mapping[str, Any]) -> tuple[str, str]:
    """Rows whose times can be compared: of one stream and one body."""
    stream = stream_of(config)
    usual = (part for part in _stream(stream).get("defaults", ()) if isinstance(part, dict))
    body = chosen({"defaults": usual}).get("backbone", "")
    return stream, chosen(config).get("backbone", body)


def _epochs(config: Mapping[str, Any]) -> float:
    """Of the row, or of its stream's protocol."""
    own = config.get("epochs") or config.get("protocol", {}).get("epochs")
    return float(own or _stream(stream_of(config)).get("protocol", {}).get("epochs") or 1)


@functools.cache
def _stream(name: str) -> dict[str, Any]:
    path = FOLDER / "data" / f"{name}.yaml"
    return dict(yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {})


class Agenda:
    """Gives the rows that are left.

    Args:
        rows: from `todo`.
        by_value: the most valuable of those that fit into the time come first; else they come as
            they are.
    """

    def __init__(self, rows: Sequence[Open], by_value: bool = True) -> None:
        self.rows, self.by_value = list(rows), by_value

    def next(self, seconds: float) -> tuple[Open, int] | None:
        """A row and its seed, told the seconds that are left; None where nothing is left."""
        if not self.rows:
            return None
        chosen = self.rows[0]
        if self.by_value:
            fitting = [each for each in self.rows if (each.seconds or 0.0) <= seconds]
            chosen = max(fitting or self.rows, key=lambda each: each.value)
        seed = chosen.left.pop(0)
        chosen.done += 1
        if not chosen.left:
            self.rows.remove(chosen)
        return chosen, seed

    def drop(self, row: Open, stream: bool) -> list[str]:
        """Leaves out a row, and all of its stream if that is what cannot be run; says which."""
        gone = [each for each in self.rows if each is row or (stream and each.stream == row.stream)]
        self.rows = [each for each in self.rows if each not in gone]
        return [each.row for each in gone if each is not row]


def table(found: Sequence[Open]) -> str:
    """For people, a line for each row, and what all would take."""
    lines = [f"{'row':<44} {'seeds left':<11} {'minutes a seed':>15} {'figures an hour':>16}"]
    for each in found:
        seconds = "?" if each.seconds is None else f"{each.seconds / 60:.1f}"
        mark = {"measured": "", "unknown": ""}.get(each.how, f" {each.how}")
        value = "?" if each.seconds is None else f"{each.value:.1f}"
        left = ",".join(map(str, each.left))
        lines.append(f"{each.row:<44} {left:<11} {seconds + mark:>15} {value:>16}")
    known = [each for each in found if each.seconds is not None]
    hours = sum((each.seconds or 0) * len(each.left) for each in known) / 3600
    lines.append(
        f"{len(found)} rows; {hours:.1f} hours of a core for {len(known)} of them, the others are "
        "not timed; `like`: by other rows of the stream and body, `begun`: by what was run of one, "
        "`over`: longer than that, by a reduced run of its own"
    )
    return "\n".join(lines)
