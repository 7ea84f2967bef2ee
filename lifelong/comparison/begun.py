"""Runs of rows that are begun and not finished: what a whole one would take."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lifelong.comparison.ledger import Line, described, figures, judged, place_of
from lifelong.comparison.runs import options_of, said_of
from lifelong.configuration.stored import read_plain
from lifelong.errors import reason


def begun(places: Iterable[Path], damaged: dict[Path, str]) -> list[Line]:
    """A line for each figure of runs of rows that are not finished, for what a run would cost.

    `extent` is `begun`, `seconds` what a whole run would take to train if it went on as it began.

    Args:
        places: folders of runs.
        damaged: gets those of which a file cannot be read, and why.
    """
    found = list[Line]()
    for place in places:
        if not (place / "config.yaml").exists():
            continue  # a run of a sweep that was refused
        try:
            found += _lines(place)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            damaged[place] = f"{place}: is damaged ({reason(error)})"
    return found


def _lines(place: Path) -> list[Line]:
    """Of a run; none if it is of no row, or has no checkpoint."""
    config = read_plain(place / "config.yaml")
    row = (config.get("choices") or {}).get("experiment")
    seconds = expected(place, int(config["epochs"])) if row else None
    if seconds is None:
        return []
    options = options_of(config)
    names = {"row": str(row), "stream": str(config["data"].get("name"))}
    published = said_of(config, config.get("measure_on", "test"))
    here = place_of(place, config) | names
    said = (described(m, published, config, options, seconds) for m in figures(published))
    return [judged(here | each, {}) for each in said]


def expected(folder: Path, epochs: int) -> float | None:
    """Seconds of training of a whole run, as far as its checkpoints say; None if there are none.

    Methods whose later tasks take longer, or that train in several rounds, take more than that.
    """
    from lifelong.storage.checkpoint import latest

    try:
        saved, _ = latest(folder)
    except ValueError:
        return None
    if saved is None or not saved.of:
        return None
    inside = 0.0 if saved.rounds else saved.epoch / max(epochs, 1)
    done = saved.visit if saved.finished else saved.visit - 1 + inside
    seconds = float(saved.record["seconds"]["train"])
    return seconds * saved.of / done if done > 0 else None
