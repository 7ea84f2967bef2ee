"""What is left of published tables, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from lifelong.sweeps.todo import Agenda, Open, table, todo


def row(stream: str, *figures: str, **more: Any) -> dict[str, Any]:
    published = {"published": {key: [1.0, None] for key in figures}} if figures else {}
    return {"defaults": [{"override /data": stream}], **published, **more}


def line(name: str, seconds: float, seeds: str = "1", **more: str) -> dict[str, str]:
    return {
        "row": name, "seconds": str(seconds), "seeds": seeds, "changed": "", "device": "cpu"
    } | more  # fmt: skip


ROWS = {
    "own": row("a", "final_accuracy"),
    "alike": row("a", "final_accuracy", "forgetting", "seconds"),
    "longer": row("a", "final_accuracy", protocol={"epochs": 5}),
    "dark": row("b", "final_accuracy"),
    "silent": row("a"),
    "timed": row("a", "seconds"),
}


def test_rows_are_timed_by_themselves_by_others_of_their_stream_or_not_at_all() -> None:
    found = {
        each.row: (each.seconds, each.how, each.left)
        for each in todo(ROWS, [line("own", 60, "1,2")], [1, 2, 3], "cpu")
    }
    assert found == {
        "own": (60, "measured", [3]),
        "alike": (60, "like", [1, 2, 3]),
        "longer": (300, "like", [1, 2, 3]),
        "dark": (None, "unknown", [1, 2, 3]),
    }


def test_times_are_by_epochs_and_of_the_same_body() -> None:
    """A row of 200 epochs on a stream whose protocol has 2,000; another body says nothing."""
    rows = {
        "whole": row("cifar100", "final_accuracy"),
        "short": row("cifar100", "final_accuracy", protocol={"epochs": 200}),
        "other": {**row("cifar100", "final_accuracy")},
    }
    rows["other"]["defaults"] = [*rows["other"]["defaults"], {"override /backbone": "resnet17"}]
    found = {each.row: each.seconds for each in todo(rows, [line("whole", 2000)], [2], "cpu")}
    assert found == {"whole": 2000, "short": 200, "other": None}
    rows["other"]["defaults"][1] = {"override /backbone": "conv4"}  # which is the stream's
    found = {each.row: each.seconds for each in todo(rows, [line("whole", 2000)], [2], "cpu")}
    assert found["other"] == 2000


def test_a_row_takes_longer_than_a_reduced_run_of_it() -> None:
    """A method may be slower than the others of its stream by far."""
    rows = {**ROWS, "slow": row("a", "final_accuracy", protocol={"epochs": 5})}
    lines = [line("own", 60), line("slow", 200, changed="epochs=2 strategy.memory=1")]
    found = {each.row: (each.seconds, each.how) for each in todo(rows, lines, [2], "cpu")}
    assert (found["slow"], found["longer"]) == ((500, "over"), (300, "like"))
    lines[1]["seconds"] = "10"
    assert {each.how for each in todo(rows, lines, [2], "cpu") if each.row == "slow"} == {"like"}


def test_a_run_on_several_devices_times_none_of_them() -> None:
    lines = [line("own", 60, device="a GPU, cpu")]
    for device in ("cpu", "gpu"):
        assert {each.seconds for each in todo(ROWS, lines, [2], device)} == {None}


def test_what_an_hour_gives_decides() -> None:
    """Two figures before one, short runs before long ones, a first seed before a third."""
    found = todo(ROWS, [line("own", 60, "1,2")], [1, 2, 3], "cpu")
    assert [each.row for each in found] == ["alike", "own", "longer", "dark"]
    assert [each.value for each in found] == pytest.approx([120, 20, 12, 1])


def test_changed_rows_are_left_and_other_devices_time_nothing() -> None:
    lines = [line("own", 60, changed="epochs=1"), line("alike", 9, device="a GPU")]
    found = {each.row: each for each in todo(ROWS, lines, [1], "cpu")}
    assert "alike" not in found  # its seed is there
    assert found["own"].seconds is None
    begun = line("dark", 50, seeds="", device="a GPU")
    on_gpu = {each.row: each for each in todo(ROWS, [*lines, begun], [1], "gpu")}
    assert (on_gpu["own"].seconds, on_gpu["dark"].how) == (9, "begun")


def test_the_agenda_prefers_what_fits_and_goes_seed_by_seed() -> None:
    short, long = Open("short", "a", 1, 0, [1, 2], 60.0), Open("long", "b", 9, 0, [1], 100.0)
    agenda = Agenda([short, long])
    taken = [agenda.next(seconds) for seconds in (80, 1000, 1000, 1000)]
    assert [(each[0].row, each[1]) for each in taken if each] == [
        ("short", 1), ("long", 1), ("short", 2)
    ]  # fmt: skip
    assert taken[-1] is None


def test_a_stream_that_is_not_here_is_dropped() -> None:
    rows = [Open(name, stream, 1, 0, [1], 60.0) for name, stream in (("x", "a"), ("y", "a"))]
    agenda = Agenda([*rows, Open("z", "b", 1, 0, [1], 60.0)])
    first = agenda.next(1000)
    assert first is not None
    assert agenda.drop(first[0], stream=True) == ["y"]
    assert [each.row for each in agenda.rows] == ["z"]


def test_a_row_that_fails_is_dropped_alone() -> None:
    rows = [Open(name, "a", 1, 0, [1, 2], 60.0) for name in ("x", "y")]
    agenda = Agenda(rows, by_value=False)
    first = agenda.next(1000)
    assert first is not None
    assert first[0].row == "x"
    assert agenda.drop(first[0], stream=False) == []
    assert [each.row for each in agenda.rows] == ["y"]


def test_the_table_tells_rows_times_and_their_sum() -> None:
    text = table(todo(ROWS, [line("own", 3600, "1,2")], [1, 2, 3], "cpu"))
    lines = text.splitlines()
    assert len(lines) == 6, text
    assert lines[1].split() == ["alike", "1,2,3", "60.0", "like", "2.0"]
    assert ["dark", "1,2,3", "?", "?"] in [each.split() for each in lines]
    assert lines[-1].startswith("4 rows; 19.0 hours of a core for 3 of them")
