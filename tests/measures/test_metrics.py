"""How metrics are called and shown."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lifelong import networks
from lifelong.measures.matrix import metrics
from lifelong.measures.metrics import (
    METRICS,
    caption_of,
    heads_apart,
    how_asked,
    is_accuracy,
    metric_of,
    other_way,
    percent,
)


def test_every_metric_of_a_matrix_has_a_name() -> None:
    found = metrics(np.array([[0.8, math.nan], [0.6, 0.9]]), [0, 1], [0.8, 0.9])
    assert found.keys() <= METRICS.keys()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("final_accuracy", 0.12345, "12.3 %"),
        ("final_accuracy", None, "-"),
        ("forgetting", math.nan, "-"),
        ("backward_transfer", -0.0004, "0.0 %"),  # no minus before a zero
        ("backward_transfer", -0.0006, "-0.1 %"),
        ("forgetting_ratio", 0.98765, "0.988"),
        ("final_loss", 0.5, "0.5000"),
    ],
)
def test_values_as_they_are_shown(name: str, value: float | None, told: str) -> None:
    metric = metric_of(name)
    assert metric is not None
    assert metric.text(value) == told
    assert metric.unit == ("%" if told.endswith("%") or told == "-" else "1")


def test_names_with_something_behind_them() -> None:
    """The longest known name counts: `forgetting_ratio_class` is no `forgetting`."""
    found = metric_of("forgetting_ratio_class")
    assert found is not None
    assert (found.heading, found.digits) == ("ratio, class-incremental", 3)
    of_measure = metric_of("final_loss_task")
    assert of_measure is not None
    assert of_measure.words == "final loss, task-incremental"
    assert metric_of("nonsense") is None
    assert is_accuracy("forgetting_ratio_class")
    assert not is_accuracy("nonsense")
    assert percent(0.5, 3) == "50.000 %"


def test_the_other_way_of_asking() -> None:
    assert other_way({"accuracy": [], "accuracy_class": []}) == "_class"
    assert other_way({"accuracy": [], "accuracy_task": []}) == "_task"
    assert other_way({"accuracy": [], "accuracy_dense": []}) is None
    assert how_asked("_task") == "task-incremental"
    captions = {"matrix": "A matrix.", "own_class": "Of its own."}
    assert caption_of("matrix", captions) == "A matrix."
    assert caption_of("matrix_class", captions) == "A matrix. The task is not given."
    assert caption_of("matrix_task", captions) == "A matrix. The task is given."
    assert caption_of("own_class", captions) == "Of its own."


def test_heads_are_apart_whose_weights_answer_for_one_task() -> None:
    for name in ("MultiHead", "OutputMatrix", "SingleHead", "IncrementalHead"):
        kind = getattr(networks, name)
        assert heads_apart(f"lifelong.networks.{name}") == (not kind.shared_outputs), name
    assert not heads_apart(None)
