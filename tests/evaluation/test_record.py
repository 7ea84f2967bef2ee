from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from lifelong.evaluation.accuracy import TaskAccuracy
from lifelong.evaluation.record import PEAK, TEST, Record


def record() -> Record:
    made = Record("method", "stream", 1, [0, 1], ["task 0", "task 1"])
    made.images = {"train": [3, 3]}
    made.add(0, TEST, [8], [10])
    made.add(0, PEAK, [9], [10])
    made.add(1, TEST, [5, 18], [10, 20])
    made.add(1, PEAK, [0, 20], [0, 20])
    made.parameters = [10, 20]
    return made


def test_counts_are_exact_for_uneven_batches() -> None:
    """64 right answers and 8 wrong ones are 0.889, not the mean of two batches."""
    scores = TaskAccuracy(2)
    scores.update(torch.ones(64, dtype=torch.bool), torch.zeros(64, dtype=torch.long))
    scores.update(torch.zeros(8, dtype=torch.bool), torch.zeros(8, dtype=torch.long))
    assert scores.compute()[0] == pytest.approx(64 / 72)
    assert scores.compute()[1].isnan()
    assert float(scores.mean()) == pytest.approx(64 / 72)


def test_matrix_and_metrics() -> None:
    made = record()
    assert made.matrix()[0, 0] == 0.8
    assert math.isnan(made.matrix()[0, 1])
    assert made.matrix()[1].tolist() == [0.5, 0.9]
    assert made.peak() == [0.9, 1.0]
    found = made.metrics()
    assert found["final_accuracy"] == pytest.approx(0.7)
    assert found["peak_accuracy"] == pytest.approx(0.95)
    assert found["forgetting_ratio"] == pytest.approx(0.5 / 0.8)


def test_files(tmp_path: Path) -> None:
    record().write(tmp_path, "finished", {"a": 1})
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["accuracy"] == [[0.8, None], [0.5, 0.9]]
    assert results["parameters"] == 20
    assert results["method"] == {"a": 1}
    lines = (tmp_path / "accuracy.csv").read_text().splitlines()
    assert lines[0] == "strategy,data,seed,after_task,on_task,split,accuracy,n"
    assert lines[3] == "method,stream,1,1,0,test,0.5,10"
    assert len(lines) == 6


def test_state_round_trip() -> None:
    again = Record("method", "stream", 1, [0, 1], ["task 0", "task 1"])
    again.load_state_dict(record().state_dict())
    assert again.metrics() == record().metrics()
