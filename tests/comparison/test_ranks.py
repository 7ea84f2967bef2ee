"""Mean ranks over streams against SciPy and the tables of Demsar (2006)."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from scipy.stats import friedmanchisquare

from lifelong.comparison import ranks
from lifelong.comparison.compare import main
from tests.comparison.finished_runs import groups_in, run

SCORES = [
    {"a": 0.9, "b": 0.8, "c": 0.1, "d": 0.2},
    {"a": 0.8, "b": 0.9, "c": 0.2, "d": 0.2},
    {"a": 0.7, "b": 0.6, "c": 0.3, "d": 0.1},
    {"a": 0.9, "b": 0.7, "c": 0.2, "d": 0.3},
    {"a": 0.8, "b": 0.7, "c": 0.1, "d": 0.3},
]


def test_ranks_are_means_in_which_ties_share() -> None:
    found = ranks.ranked(SCORES)
    assert found.mean == pytest.approx({"a": 1.2, "b": 1.8, "c": 3.7, "d": 3.3})
    columns = [[each[name] for each in SCORES] for name in "abcd"]
    assert found.p == pytest.approx(friedmanchisquare(*columns).pvalue)


@pytest.mark.parametrize(("methods", "q"), [(3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_the_critical_difference_is_demsar_s(methods: int, q: float) -> None:
    """His table 5a: q at 5 %."""
    scores = [{str(n): float(n) for n in range(methods)}] * 12
    wanted = q * math.sqrt(methods * (methods + 1) / (6 * 12))
    assert ranks.ranked(scores).difference == pytest.approx(wanted, abs=2e-3)


def test_streams_on_which_all_are_alike_tell_nothing() -> None:
    found = ranks.ranked([dict.fromkeys("abc", 0.5)] * 3)
    assert found.p == 1.0
    assert set(found.mean.values()) == {2.0}


def test_bars_join_what_does_not_differ_and_each_is_the_widest() -> None:
    def of(*means: float) -> list[tuple[float, float]]:
        return ranks.alike(ranks.Ranks({str(m): m for m in means}, 5, 0.1, 1.0))

    assert of(1.0, 1.5, 2.4, 4.0) == [(1.0, 1.5), (1.5, 2.4)]
    assert of(1.0, 1.5, 1.9, 2.0) == [(1.0, 2.0)]
    assert of(1.0, 3.0, 5.0) == []


def streams(folder: Path, number: int, methods: str) -> Path:
    for stream in range(number):
        for place, name in enumerate(methods):
            run(folder / f"{stream}{name}", name, 1, 0.1 * place, data=f"stream {stream}")
    return folder


def test_the_page_has_it_for_three_methods_on_three_streams(tmp_path: Path) -> None:
    few = streams(tmp_path / "few", 2, "abc")
    assert ranks.of_groups(groups_in(few)) is None
    assert ranks.of_groups(groups_in(streams(tmp_path / "pairs", 3, "ab"))) is None
    enough = streams(tmp_path / "enough", 3, "abc")
    run(enough / "more", "d", 1, 0.9, data="stream 0")  # on one stream alone
    found = ranks.of_groups(groups_in(enough))
    assert found is not None
    assert found.mean == {"a": 3.0, "b": 2.0, "c": 1.0}
    for folder, there in ((few, False), (enough, True)):
        assert main([str(folder)]) == 0
        path = folder / "comparison_figures" / "critical_difference.png"
        assert path.exists() == there
        page = (folder / "comparison.html").read_text()
        assert ("Mean ranks by final accuracy over 3 streams" in page) == there


def test_one_stream_learned_in_several_ways_is_one(tmp_path: Path) -> None:
    for stream in range(3):
        for place, name in enumerate("abc"):
            folder = tmp_path / f"{stream}{name}"
            run(folder, name, 1, 0.1 * place, data="the stream")
            config = folder / "config.yaml"
            config.write_text(config.read_text().replace("epochs: 3", f"epochs: {stream + 1}"))
    assert len(groups_in(tmp_path)) == 9
    assert ranks.of_groups(groups_in(tmp_path)) is None
