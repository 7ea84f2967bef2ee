"""Curves over many epochs, kept with a bounded number of points."""

from __future__ import annotations

from typing import Any

LIMIT = 200
# From, to and steps of the decimal logarithm in histograms of importances.
HISTOGRAM = (-12, 4, 64)


def append_downsampled(history: dict[str, Any], epoch: int, **values: Any) -> None:
    """Notes the values of an epoch; of the epochs noted, evenly spaced ones are kept.

    Args:
        history: holds `seen`, the epochs noted so far; `every`, the distance of the points kept;
            `epochs`, their numbers; and a list for each of `values`. Empty at first.
        epoch: its number, from 1.
        values: of this epoch.

    >>> history = {}
    >>> for epoch in range(1, 501):
    ...     append_downsampled(history, epoch, loss=-epoch)
    >>> history["every"], history["epochs"][:3], history["loss"][:3]
    (4, [4, 8, 12], [-4, -8, -12])
    """
    history["seen"] = history.get("seen", 0) + 1
    every = history.setdefault("every", 1)
    if history["seen"] % every:
        return
    row = {"epochs": epoch, **values}
    for name, value in row.items():
        history.setdefault(name, []).append(value)
    if len(history["epochs"]) > LIMIT:
        history["every"] = 2 * every
        for name in row:
            history[name] = history[name][1::2]
