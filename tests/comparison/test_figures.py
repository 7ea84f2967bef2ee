"""Figures of several groups of runs."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lifelong.comparison.figures import _short, accuracy_along_stream, accuracy_matrices, scatter
from tests.comparison.finished_runs import groups_in, run


def test_the_mean_of_the_seen_tasks_with_its_confidence(tmp_path: Path) -> None:
    """Two seeds: means 50 and 60; t(1) = 12.706 times the deviation is cut at 0 and 100."""
    for seed, first in ((1, 0.4), (2, 0.6)):
        rows = [[first, None], [0.5, 0.7]]
        run(tmp_path / str(seed), "ours", seed, 0.6, accuracy=rows)
    axes = accuracy_along_stream(groups_in(tmp_path)).axes[0]
    [line] = axes.lines
    np.testing.assert_allclose(line.get_ydata(), [50, 60])
    [band] = axes.collections
    [corners] = [path.vertices for path in band.get_paths()]
    ends = corners[corners[:, 0] == 0][:, 1]
    assert (ends.min(), ends.max()) == (0, 100)  # 50 -+ 12.706 * 14.1 / sqrt 2
    second = corners[corners[:, 0] == 1][:, 1]
    np.testing.assert_allclose([second.min(), second.max()], [60, 60])


def test_a_group_is_a_point_with_bars_of_its_deviations(tmp_path: Path) -> None:
    for seed, final in ((1, 0.4), (2, 0.6)):
        run(tmp_path / f"a{seed}", "a", seed, final, seconds={"train": 10.0 * seed})
    run(tmp_path / "b1", "b", 1, 0.3, seconds={"train": 1000.0})
    axes = scatter(groups_in(tmp_path), "seconds", "seconds of training", 1.0).axes[0]
    points = {line.get_label(): line.get_xydata()[0].tolist() for line in axes.lines[-2:]}
    assert points == {"a": [15.0, pytest.approx(50)], "b": [1000.0, pytest.approx(30)]}
    assert axes.get_xscale() == "log"  # from 15 to 1000
    assert [len(bars.lines[2]) for bars in axes.containers] == [2, 0]  # of one run there are none


def test_cells_that_some_run_lacks_are_left_out_of_the_mean_matrix(tmp_path: Path) -> None:
    run(tmp_path / "1", "ours", 1, 0.5, accuracy=[[0.4, None], [0.2, 0.6]])
    run(tmp_path / "2", "ours", 2, 0.5, accuracy=[[0.6, 0.1], [0.4, 1.0]])
    image = accuracy_matrices(groups_in(tmp_path)).axes[0].images[0].get_array()
    found = np.ma.filled(image, np.nan)
    np.testing.assert_allclose(found, [[50, np.nan], [30, 80]])


def test_what_is_measured_at_the_end_alone_and_chance_are_lines(tmp_path: Path) -> None:
    chance = {"task": [0.5, 0.25], "class": [0.5, 0.1]}
    run(tmp_path / "1", "joint", 1, 0.9, accuracy=[[None, None], [0.9, 0.7]], chance=chance)
    run(tmp_path / "2", "other", 1, 0.6, chance=chance)
    groups = groups_in(tmp_path)
    for evaluate, level in (("task", [50, 25]), ("class", [50, 10])):
        for group in groups:
            group.runs[0].results["evaluate"] = evaluate
        axes = accuracy_along_stream(groups).axes[0]
        lines = {str(line.get_label()): line.get_ydata() for line in axes.lines}
        np.testing.assert_allclose(lines["joint"], [80, 80])
        np.testing.assert_allclose(lines["by chance"], level)


def test_a_line_joins_what_no_other_beats(tmp_path: Path) -> None:
    for name, seconds, final in (("a", 1.0, 0.3), ("b", 2.0, 0.2), ("c", 3.0, 0.5)):
        run(tmp_path / name, name, 1, final, seconds={"train": seconds})
    axes = scatter(groups_in(tmp_path), "seconds", "seconds of training", 1.0).axes[0]
    (line,) = [line for line in axes.lines if line.get_linestyle() == ":"]
    np.testing.assert_allclose(line.get_xydata(), [[1, 30], [3, 50]])


def test_no_two_groups_are_called_the_same() -> None:
    """What tells them apart may stand in the middle of a long label."""
    labels = [
        f"mas strategy.strength={strength} strategy.importance.accumulate={way}"
        for strength in (1, 2)
        for way in ("sum", "running_mean")
    ]
    found = _short([SimpleNamespace(label=label) for label in labels])
    assert len(set(found)) == 4
    assert found[0] == "mas strength=1 accumulate=sum"
    assert _short([SimpleNamespace(label="er")]) == ["er"]
    far = ["a" * 20 + middle + "b" * 30 for middle in "xy"]
    assert _short([SimpleNamespace(label=label) for label in far]) == far


def test_maps_that_are_left_out_are_told(tmp_path: Path) -> None:
    for number in range(13):
        run(tmp_path / str(number), f"method{number:02}", 1, 0.5)
    figure = accuracy_matrices(groups_in(tmp_path))
    assert figure.get_supxlabel() == "accuracy on task (the first 12 of 13 rows of the table)"
