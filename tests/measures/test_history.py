"""Curves over many epochs, kept with a bounded number of points."""

from __future__ import annotations

from typing import Any

import pytest

from lifelong.measures.history import LIMIT, append_downsampled


@pytest.mark.parametrize("epochs", [1, LIMIT, LIMIT + 1, 3 * LIMIT, 2001])
def test_evenly_spaced_points_are_kept(epochs: int) -> None:
    """Every second one goes whenever there are too many."""
    history: dict[str, Any] = {}
    every, kept = 1, list[int]()
    for epoch in range(1, epochs + 1):
        append_downsampled(history, epoch, loss=1 / epoch, accuracy=epoch**2)
        kept += [epoch] if epoch % every == 0 else []
        if len(kept) > LIMIT:
            every, kept = 2 * every, [each for each in kept if each % (2 * every) == 0]
    assert history["epochs"] == kept
    assert history["loss"] == [1 / epoch for epoch in kept]
    assert history["accuracy"] == [epoch**2 for epoch in kept]
    assert (history["seen"], history["every"]) == (epochs, every)


def test_numbers_of_epochs_may_begin_later() -> None:
    history: dict[str, Any] = {}
    for epoch in range(51, 54):
        append_downsampled(history, epoch, loss=epoch)
    assert history["epochs"] == history["loss"] == [51, 52, 53]
