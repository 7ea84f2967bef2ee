"""Runs of rows that are begun and not finished: what a whole one would take."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lifelong.comparison.ledger import Line, described, figures, judged, place_of
from lifelong.comparison.runs import options_of
from lifelong.configuration.stored import SEEDS, read_plain


def begun(places: Iterable[Path]) -> list[Line]:
    """A line for each figure of runs of rows that are not finished, for what a run would cost.

    `extent` is `begun`, `seconds` what a whole run would take to train if it went on as it began.
    """
    found = []
    for place in places:
        if not (place / "config.yaml").exists():
            continue  # a run of a sweep that was refused
        config = read_plain(place / "config.yaml")
        row = (config.get("choices") or {}).get("experiment")
        seconds = expected(place, int(config["epochs"])) if row else None
        if seconds is None:
            continue
        options = {k: v for k, v in options_of(config).items() if k not in (*SEEDS, "name")}
        names = {"row": str(row), "stream": str(config["data"].get("name"))}
        for metric in figures(config.get("published")):
            said = described(metric, config, options, seconds)
            found.append(judged(place_of(place, config) | names | said, {}))
    return found


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
