"""What the figures of a run show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lifelong.comparison.compare import main
from lifelong.comparison.groups import curves
from lifelong.report.figures import (
    accuracy_curves,
    accuracy_matrix,
    against_option,
    confusion,
    figures,
    forgetting_by_task,
    validation_curves,
)
from tests.comparison.finished_runs import groups_in, run


def test_a_figure_against_an_option(tmp_path: Path, capsys: Any) -> None:
    for number, (seed, strength) in enumerate([(1, 0.0), (2, 0.0), (1, 10.0), (1, 0.1)]):
        run(tmp_path / str(number), "ours", seed, 0.4, em=strength)
    assert main(["figure=strategy.em", str(tmp_path)]) == 0
    path = tmp_path / "against_strategy.em.png"
    assert str(path) in capsys.readouterr().out
    with Image.open(path) as picture:
        assert picture.width > 500
    left, _ = against_option(curves(groups_in(tmp_path), "strategy.em"), "strategy.em").axes
    points = left.containers[0].lines[0]
    assert points.get_xdata().tolist() == [0.0, 0.1, 10.0]
    assert points.get_ydata().tolist() == [40.0] * 3


RESULTS: dict[str, Any] = {
    "tasks": ["a", "b"], "visits": [2, 1], "accuracy": [[None, 0.8], [0.9, 0.5]],
    "validation": {"1.1": {"epochs": [1, 2], "accuracy": [0.3, 0.6]}, "2.1": {}},
    "published": {"average_accuracy_after": {"1": 75.0, "2": 65.0, "9": 1.0}},
}  # fmt: skip


def test_a_run_has_the_figures_of_what_it_measured() -> None:
    assert figures(RESULTS).keys() == {
        "accuracy_matrix", "accuracy_curves", "validation_curves", "forgetting_by_task"
    }  # fmt: skip
    more = {
        "accuracy_class": RESULTS["accuracy"], "measures": {"confusion_class": [[{"0": {"1": 2}}]]},
        "anytime": [{"visit": 1, "steps": 5, "accuracy": {"1": 0.5}}],
    }  # fmt: skip
    assert figures({**RESULTS, **more}).keys() - figures(RESULTS).keys() == {
        "accuracy_matrix_class", "accuracy_curves_class", "confusion_class", "anytime_accuracy"
    }  # fmt: skip
    short = {**RESULTS, "accuracy": [[None, 0.8]], "validation": {}}
    assert figures(short).keys() == {"accuracy_matrix", "accuracy_curves"}


def test_visits_that_tested_their_task_alone_are_points_and_no_rows() -> None:
    part = {**RESULTS, "accuracy": [[0.9, None], [None, 0.8], [0.5, 0.6]], "visits": [1, 2, 1]}
    lines = {line.get_label(): line for line in accuracy_curves(part).axes[0].lines}
    np.testing.assert_allclose(lines["task 1"].get_xydata(), [[0, 90], [2, 50]])
    np.testing.assert_allclose(lines["mean so far"].get_xydata(), [[0, 90], [2, 55]])
    axes = accuracy_matrix(part).axes[0]
    assert axes.images[0].get_array().shape == (2, 2)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "1"]


def test_curves_are_in_percent_with_their_mean_and_the_published() -> None:
    lines = {line.get_label(): line for line in accuracy_curves(RESULTS).axes[0].lines}
    np.testing.assert_allclose(lines["task 1"].get_xydata(), [[1, 90]])
    np.testing.assert_allclose(lines["task 2"].get_ydata(), [80, 50])
    np.testing.assert_allclose(lines["mean so far"].get_ydata(), [80, 70])
    assert lines["published"].get_xydata().tolist() == [[0, 75], [1, 65]]  # of visits there are
    [curve] = validation_curves(RESULTS).axes[0].lines
    assert curve.get_label() == "task 2"
    np.testing.assert_allclose(curve.get_xydata(), [[1, 30], [2, 60]])


def test_bars_are_what_was_forgotten() -> None:
    """Of the tasks in the order of their index; the last one learned has lost nothing."""
    axes = forgetting_by_task(RESULTS).axes[0]
    heights = {int(tick.get_text()): bar.get_height() for tick, bar in
               zip(axes.get_xticklabels(), axes.patches, strict=True)}  # fmt: skip
    assert heights[2] == pytest.approx(30)
    assert heights.get(1, 0) == pytest.approx(0)


def test_answers_of_all_tasks_are_in_one_table_of_shares() -> None:
    """Classes stand by their numbers; those that were only answered have a row, too."""
    last = [{"7": {"7": 3, "2": 1}}, {"10": {"10": 2}}, None]
    axes = confusion([[None, None, None], last]).axes[0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "7", "10"]
    found = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(found, [[0, 0, 0], [25, 75, 0], [0, 0, 100]])


def test_a_figure_of_many_tasks_is_no_wider_than_a_page() -> None:
    many = list(range(1, 301))
    rows = [[0.5 if task <= visit else None for task in many] for visit in (100, 200, 300)]
    long = {**RESULTS, "tasks": [*map(str, many)], "visits": [100, 200, 300], "accuracy": rows}
    for draw in (accuracy_matrix, forgetting_by_task):
        width, height = draw(long).get_size_inches()
        assert width <= 11
        assert height >= 2


def test_figures_of_many_visits_of_few_tasks_fit_a_page() -> None:
    visits = [1, 2] * 60
    curve = {"epochs": [1], "accuracy": [0.5]}
    long = {
        **RESULTS, "visits": visits, "accuracy": [[0.5, 0.5 + 1e-17]] * 120,
        "validation": {f"{visit}.1": curve for visit in range(1, 121)},
    }  # fmt: skip
    matrix = accuracy_matrix(long)
    assert matrix.get_size_inches()[1] <= 10
    assert not matrix.axes[0].texts  # no place for numbers
    curves_of_both = validation_curves(long).axes[0]
    assert [text.get_text() for text in curves_of_both.get_legend().get_texts()] == [
        "task 1", "task 2"
    ]  # fmt: skip
    assert {line.get_marker() for line in curves_of_both.lines} == {"."}  # a point has no line
    assert forgetting_by_task(long).axes[0].get_ylim()[1] >= 1
