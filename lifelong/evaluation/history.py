"""Curves over many epochs, kept with a bounded number of points."""

from __future__ import annotations

from typing import Any

LIMIT = 200


def remember(history: dict[str, Any], **values: Any) -> None:
    """Notes the values of one more epoch, of which evenly spaced ones are kept.

    Args:
        history: holds `seen`, the epochs noted so far; `every`, the distance of the points kept;
            `epochs`, their numbers from 1; and a list for each of `values`. Empty at first.
        values: of this epoch.

    >>> history = {}
    >>> for epoch in range(500):
    ...     remember(history, loss=epoch)
    >>> history["every"], history["epochs"][:3], history["loss"][:3]
    (4, [4, 8, 12], [3, 7, 11])
    """
    history["seen"] = history.get("seen", 0) + 1
    every = history.setdefault("every", 1)
    if history["seen"] % every:
        return
    row = {"epochs": history["seen"], **values}
    for name, value in row.items():
        history.setdefault(name, []).append(value)
    if len(history["epochs"]) > LIMIT:
        history["every"] = 2 * every
        for name in row:
            history[name] = history[name][1::2]
