"""Searches: what is a point, what is asked for, what comes of a study that was interrupted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from tests.sweeps.searched import LOG, Fake, Killed, bowl, table


def test_a_grid_is_run_at_once_over_all_seeds(tmp_path: Path, capsys: Any) -> None:
    fake = Fake(tmp_path, lambda o: bowl(o) - int(o["seed"]) / 100, sampler="grid", trials=None)
    fake.sweep("lr=0.1,0.01", "b=1,3", "seed=1,2,3", "data=digits")
    (batch,) = fake.batches
    assert len(batch) == 12
    assert all(job["measure_on"] == "validation" for job in batch)
    assert all(job["data"] == "digits" for job in batch)
    rows = table(tmp_path)
    assert (rows[0]["lr"], rows[0]["b"], rows[0]["n"]) == ("0.01", "3", "3")
    assert float(rows[0]["accuracy"]) == pytest.approx(0.98)  # mean of 0.99, 0.98, 0.97
    assert float(rows[0]["deviation"]) == pytest.approx(0.01)
    assert [row["accuracy"] for row in rows] == sorted((r["accuracy"] for r in rows), reverse=True)
    again = Fake(tmp_path, sampler="grid", trials=None)
    again.sweep("seed=1,2,3", "data=digits", "b=1,3", "lr=0.1,0.01", "keep=all")
    assert again.batches == []
    for other, said in (
        (["lr=0.1,0.01,0.001", "seed=1,2,3"], "has lr=0.1,0.01, this command lr=0.1,0.01,0.001;"),
        (["lr=0.1,0.01", "seed=1,2"], "has seed=1,2,3, this command seed=1,2;"),
        (["lr=0.1,0.01", "seed=1,2,3", "tasks=2"], "has no more, this command tasks=2;"),
    ):
        with pytest.raises(SystemExit) as left:
            Fake(tmp_path, sampler="grid", trials=None).sweep("b=1,3", "data=digits", *other)
        assert left.value.code == 2
        assert said in capsys.readouterr().err


def test_a_search_finds_what_is_best(tmp_path: Path) -> None:
    fake = Fake(tmp_path, trials=40)
    fake.sweep(LOG, "b=1,2,3,4,5")
    best = table(tmp_path)[0]
    assert best["b"] == "3"
    assert 10**-2.3 < float(best["lr"]) < 10**-1.7
    assert len(table(tmp_path)) == len(fake.batches) == 40
    rates = [float(job["lr"]) for job in fake.asked]
    near = [abs(math.log10(rate) + 2) for rate in rates]
    assert sum(near[20:]) < sum(near[:20])  # it learns from what it saw


@pytest.mark.parametrize(("at_once", "killed"), [(1, 4), (3, 4), (3, 7), (1, 0)])
def test_a_killed_search_goes_on_as_it_would_have(
    tmp_path: Path, at_once: int, killed: int
) -> None:
    whole = Fake(tmp_path / "whole", trials=12, at_once=at_once)
    whole.sweep(LOG, "b=1,2,3", "seed=1,2")
    part = Fake(tmp_path / "part", trials=12, at_once=at_once, killed_after=killed)
    with pytest.raises(Killed):
        part.sweep(LOG, "b=1,2,3", "seed=1,2")
    rest = Fake(tmp_path / "part", trials=12, at_once=at_once)
    rest.sweep(LOG, "b=1,2,3", "seed=1,2")
    assert table(tmp_path / "whole") == table(tmp_path / "part")
    assert part.batches[-1] == rest.batches[0]  # what was interrupted comes first
    assert [*part.batches[:-1], *rest.batches] == whole.batches


def test_failed_points_do_not_stop_a_search_and_are_tried_again(tmp_path: Path) -> None:
    options: dict[str, Any] = {"sampler": "grid", "trials": None}
    broken = Fake(tmp_path, fails=lambda o: o["lr"] == "0.1" and o["seed"] == "2", **options)
    with pytest.raises(ValueError, match="diverged"):
        broken.sweep("lr=0.1,0.01,0.001", "seed=1,2")
    assert [row["lr"] for row in table(tmp_path)] == ["0.01", "0.001"]
    again = Fake(tmp_path, **options)
    again.sweep("lr=0.1,0.01,0.001", "seed=1,2")
    assert [(job["lr"], job["seed"]) for job in again.asked] == [("0.1", "1"), ("0.1", "2")]
    assert len(table(tmp_path)) == 3


def test_points_are_tried_once(tmp_path: Path) -> None:
    fake = Fake(tmp_path, sampler="random", trials=50, at_once=2)
    fake.sweep("lr=0.1,0.01,0.1", "depth=range(1,4)", "seed=shuffle(1,2,1)")
    points = [(job["lr"], job["depth"], job["seed"]) for job in fake.asked]
    assert len(set(points)) == len(points) == 12  # all there are
    again = Fake(tmp_path, sampler="random", trials=50, at_once=2)
    again.sweep("lr=0.1,0.01,0.1", "depth=range(1,4)", "seed=shuffle(1,2,1)")
    assert again.batches == []


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_failing_point_is_not_proposed_again(tmp_path: Path, sampler: str) -> None:
    fake = Fake(tmp_path, sampler=sampler, trials=8, fails=lambda o: float(o["lr"]) > 0.01)
    with pytest.raises(ValueError, match="diverged"):
        fake.sweep(LOG)
    rates = {job["lr"] for job in fake.asked}
    assert len(rates) == len(fake.asked) == 8
    assert 0 < len(table(tmp_path)) < 8


def test_ranges_as_values_and_as_ranges_are_two_studies(tmp_path: Path, capsys: Any) -> None:
    Fake(tmp_path, sampler="random", trials=1).sweep("lr=0.1", "b=range(1,4)")
    with pytest.raises(SystemExit):
        Fake(tmp_path, sampler="grid", trials=None).sweep("lr=0.1", "b=range(1,4)")
    assert "has b=range(1,4), this command b=1,2,3" in capsys.readouterr().err


def test_more_points_later(tmp_path: Path) -> None:
    Fake(tmp_path, trials=3, sampler="random").sweep(LOG)
    more = Fake(tmp_path, trials=5, sampler="random")
    more.sweep(LOG)
    assert len(more.batches) == 2
    assert len({row["lr"] for row in table(tmp_path)}) == 5
