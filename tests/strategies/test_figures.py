"""Figures of what methods report."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from lifelong.strategies import (
    anchored_figures,
    architecture_search_figures,
    brute_force_figures,
    darts_figures,
    lasem_figures,
    tickets_figures,
)

RESULTS: dict[str, Any] = {
    "tasks": ["a", "b"], "visits": [1, 2], "accuracy": [[0.8, None], [0.6, 0.7]],
    "accuracy_dense": [[0.8, None], [0.5, 0.7]],
}  # fmt: skip
SEARCH = {
    "configurations": ["11", "01"],
    "tasks": {
        "1": {"chosen": "11", "epochs": [1, 2], "prior": [[0.5, 0.5], [0.9, 0.1]],
              "entropy": [0.6, 0.2], "shares": [[0.5, 0.5], [0.8, 0.4]],
              "validation_accuracy": [0.9, 0.8]},
        "2": {"chosen": "01", "epochs": [2, 4], "prior": [[0.4, 0.6], [0.2, 0.8]],
              "entropy": [0.5, 0.1], "shares": [[0.4, 0.5], [0.1, 0.9]],
              "validation_accuracy": [0.7, 0.75]},
    },
}  # fmt: skip
IMPORTANCES = {
    "1": {"zeros": 1, "histogram": [0] * 63 + [3], "shares": {"0.weight": 0.75, "1.weight": 0.25}},
    "2": {"zeros": 0, "histogram": [4] + [0] * 63, "shares": {"0.weight": 0.5, "0.bias": 0.5}},
}
TICKETS = {
    "remaining": {"1": 0.5, "2": 0.25},
    "measured_with": {"1": 1.0, "2": 0.5},
    "density": {"1": {"0.weight": 0.5, "1.weight": 0.0}, "2": {"0.weight": 0.25, "1.weight": 0.0}},
    "decisions": {"1": {"dense": 0.8, "rounds": [{"remaining": 0.5, "accuracy": 0.78}]}, "2": {}},
}


def results(method: dict[str, Any]) -> dict[str, Any]:
    return {**RESULTS, "method": method}


@pytest.mark.parametrize(
    ("module", "method", "names"),
    [
        (anchored_figures, {"importances": IMPORTANCES},
         {"importance_histogram", "importance_shares"}),
        (architecture_search_figures, SEARCH, {"chosen_layers"}),
        (brute_force_figures, SEARCH, {"candidate_accuracy"}),
        (darts_figures, SEARCH, {"selector_shares"}),
        (lasem_figures, SEARCH, {"configuration_prior", "posterior_entropy"}),
        (tickets_figures, TICKETS, {"accuracy_against_remaining", "density_by_layer",
                                    "dense_against_ticket", "pruning_rounds"}),
    ],
)  # fmt: skip
def test_what_a_method_reported_is_drawn_and_nothing_else(
    module: Any, method: dict[str, Any], names: set[str]
) -> None:
    found = module.drawings(results(method))
    assert found.keys() == names
    assert all(drawing.caption.endswith(".") for drawing in found.values())
    bare = {key: value for key, value in RESULTS.items() if key != "accuracy_dense"}
    assert module.drawings({**bare, "method": {"tasks": {"1": {}}}}) == {}


def test_shares_of_importance_are_stacked_by_layer() -> None:
    """Weight and bias of a layer count together; a visit that lacks a layer has none of it."""
    [axes] = anchored_figures.importance_shares(results({"importances": IMPORTANCES})).axes
    heights = [[bar.get_height() for bar in layer] for layer in axes.containers]
    assert heights == [[75.0, 100.0], [25.0, 0.0]]
    assert [bar.get_y() for bar in axes.containers[1]] == [75.0, 100.0]


def test_importances_of_many_tasks_and_layers_are_put_together() -> None:
    """Heads are one layer, so that a stream of many tasks does not have as many."""
    of_task = {
        str(n + 1): {
            "zeros": 0, "histogram": [1] + [0] * 63,
            "shares": {f"heads.all.{n}.1.weight": 0.3, f"heads.all.{n}.1.bias": 0.1}
            | {f"body.{k}.weight": 0.6 / 40 for k in range(40)},
        }
        for n in range(100)
    }  # fmt: skip
    many = results({"importances": of_task}) | {"visits": list(range(1, 101))}
    figure = anchored_figures.importance_shares(many)
    [axes] = figure.axes
    labels = axes.get_legend_handles_labels()[1]
    assert len(labels) == anchored_figures.MOST_LAYERS
    assert "heads" in labels
    assert labels[-1] == "12 other layers"
    top = max(path.vertices[:, 1].max() for c in axes.collections for path in c.get_paths())
    assert top == pytest.approx(100)
    assert figure.get_size_inches()[0] <= 14
    [axes] = anchored_figures.importance_histogram(many).axes
    told = [text.get_text() for text in axes.get_legend().get_texts()]
    assert [text.split()[1] for text in told] == [str(n) for n in range(10, 101, 10)]


def test_layers_and_candidates_lie_where_they_belong() -> None:
    [axes] = architecture_search_figures.chosen_layers(results(SEARCH)).axes
    assert np.asarray(axes.images[0].get_array()).tolist() == [[1, 0], [1, 1]]  # input layer first
    axes = brute_force_figures.candidate_accuracy(results(SEARCH)).axes[0]
    found = np.asarray(axes.images[0].get_array())
    np.testing.assert_allclose(found, [[90, 70], [80, 75]])
    dots = [line.get_xydata().tolist() for line in axes.lines]
    assert dots == [[[0, 0]], [[1, 1]]]


def test_lines_of_searches_and_tickets() -> None:
    axes = lasem_figures.posterior_entropy(results(SEARCH)).axes[0]
    first, second, highest = axes.lines
    assert first.get_ydata().tolist() == [0.6, 0.2]
    assert second.get_xdata().tolist() == [2, 4]
    assert set(highest.get_ydata()) == {math.log(2)}
    axes = darts_figures.selector_shares(results(SEARCH)).axes[1]
    assert [line.get_ydata().tolist() for line in axes.lines[:2]] == [[0.4, 0.1], [0.5, 0.9]]
    assert axes.get_title() == "task 2: 01"
    ticket, dense = tickets_figures.accuracy_against_remaining(results(TICKETS)).axes[0].lines
    np.testing.assert_allclose(ticket.get_xydata(), [[100, 80], [50, 65]])
    np.testing.assert_allclose(dense.get_xydata(), [[100, 80], [100, 60]])
    [rounds, _] = tickets_figures.pruning_rounds(results(TICKETS)).axes[0].lines
    np.testing.assert_allclose(rounds.get_xydata(), [[50, -2]])
