from __future__ import annotations

import json
import math
import time
from pathlib import Path

import pytest
import torch

from lifelong.measures import Tally
from lifelong.training.record import PEAK, TEST, Record
from tests.measures.predicted import answered


def tally(*counts: tuple[int, int]) -> Tally:
    """So many right answers among so many images of each task."""
    made = Tally()
    for task, (right, total) in enumerate(counts):
        if total:
            answers = torch.arange(total) < right
            answered(made, answers, torch.full((total,), task))
    return made


def record() -> Record:
    made = Record("method", "stream", 1, [0, 1], ["task 1", "task 2"])
    made.images = {"train": [3, 3]}
    made.add(1, TEST, tally((8, 10)))
    made.add(1, PEAK, tally((9, 10)))
    made.add(2, TEST, tally((5, 10), (18, 20)))
    made.add(2, PEAK, tally((0, 0), (20, 20)))
    made.parameters = [10, 20]
    return made


def test_matrix_and_metrics() -> None:
    made = record()
    assert made.matrix()[0, 0] == 0.8
    assert math.isnan(made.matrix()[0, 1])
    assert made.matrix()[1].tolist() == [0.5, 0.9]
    assert made.peak() == [0.9, 1.0]
    found = made.metrics()
    assert found["final_accuracy"] == pytest.approx(0.7)
    assert found["final_accuracy_of_images"] == pytest.approx(23 / 30)
    assert found["peak_accuracy"] == pytest.approx(0.95)
    assert found["forgetting_ratio"] == pytest.approx(0.5 / 0.8)


def test_metrics_of_a_long_stream_take_no_time() -> None:
    many = 300
    made = Record("method", "stream", 1, list(range(many)), [str(task) for task in range(many)])
    for visit in range(1, many + 1):
        made.add(visit, TEST, tally(*[(task % 5, 5) for task in range(visit)]))
        made.take_over(visit, visit - 1, TEST, PEAK)
    begun = time.process_time()
    found = made.metrics()
    assert time.process_time() - begun < 2  # more than a minute where each count asks all others
    assert found["final_accuracy"] == pytest.approx(0.4)
    assert made.peak()[:6] == [0, 0.2, 0.4, 0.6, 0.8, 0]


def test_state_goes_on_with_what_was_counted() -> None:
    made, other = record(), record()
    rows = [
        [visit, task, made.splits[split], right, total]
        for visit, task, split, right, total in made.counts.tolist()
    ]
    new = made.state_dict()
    old = {key: value for key, value in new.items() if key not in ("splits", "counts")}
    for state in (new, old | {"rows": rows}):  # as version 0.2.0 kept them
        other = Record("method", "stream", 1, [0, 1], ["task 1", "task 2"])
        other.images = made.images
        other.load_state_dict(state)
        assert other.results("running", {}) == made.results("running", {})
        assert other.splits == made.splits


def test_files(tmp_path: Path) -> None:
    record().write(tmp_path, "finished", {"a": 1})
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["accuracy"] == [[0.8, None], [0.5, 0.9]]
    assert results["parameters"] == 20
    assert results["method"] == {"a": 1}
    lines = (tmp_path / "accuracy.csv").read_text().splitlines()
    assert lines[0] == "strategy,data,seed,after_visit,task,split,accuracy,n"
    assert lines[3] == "method,stream,1,2,1,test,0.5,10"
    assert len(lines) == 6


def test_state_round_trip() -> None:
    again = Record("method", "stream", 1, [0, 1], ["task 1", "task 2"])
    again.load_state_dict(record().state_dict())
    assert again.metrics() == record().metrics()


def test_what_chance_gives_follows_from_the_classes_met() -> None:
    record = Record("a", "b", 1, [1, 0, 1], ["one", "two"])
    for visit in (1, 2, 3):
        record.add(visit, TEST, tally((1, 2)))
    assert record.chance() == {"task": [], "class": []}  # of no stream
    record.classes = [(0, 1), (2, 3, 4, 5)]
    assert record.chance() == {"task": [0.25, 0.375, 0.375], "class": [0.25, 1 / 6, 1 / 6]}
    record.classes = [(0, 1), (0, 1)]  # the same classes in each task
    assert record.chance()["class"] == [0.5, 0.5, 0.5]


def test_what_was_asked_of_no_image_was_not_measured() -> None:
    made = record()
    made.take_over(2, 1, "test_of_nothing", "test_of_other")
    assert not made.has("test_of_other")
    assert made.auxiliary == {}
