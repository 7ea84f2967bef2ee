"""Methods tested against each other over common seeds."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from lifelong.comparison.paired import pairs
from tests.comparison.finished_runs import groups_in, run


def test_paired_tests_over_common_seeds(tmp_path: Path) -> None:
    """Differences .1, .2, .3: t = .2 / (.1 / sqrt 3) = 3.4641 with 2 degrees, p = 0.0742."""
    for seed, (one, other) in enumerate([(0.5, 0.4), (0.7, 0.5), (0.6, 0.3)], 1):
        run(tmp_path / f"a{seed}", "a", seed, one)
        run(tmp_path / f"b{seed}", "b", seed, other)
    run(tmp_path / "b9", "b", 9, 0.9)  # a seed that a has not
    run(tmp_path / "c1", "c", 1, 0.9)
    (pair,) = pairs(groups_in(tmp_path))
    assert (pair.one, pair.other, pair.n) == ("a", "b", 3)
    assert pair.difference == pytest.approx(0.2)
    assert pair.p == pytest.approx(0.07418, abs=1e-5)
    assert pair.adjusted == pytest.approx(pair.p)


def test_many_methods_are_compared_with_the_best(tmp_path: Path) -> None:
    for number in range(8):
        for seed in (1, 2):
            run(tmp_path / f"{number}_{seed}", f"m{number}", seed, 0.1 * number + 0.01 * seed)
    found = pairs(groups_in(tmp_path))
    assert [pair.one for pair in found] == ["m7"] * 7
    assert all(math.isnan(pair.p) for pair in found)  # the same difference for both seeds


def test_a_ticket_is_paired_with_the_run_that_found_it(tmp_path: Path) -> None:
    for seed in (1, 2):
        run(tmp_path / f"found{seed}", "tickets_td", seed, 0.5 + seed / 10)
        run(tmp_path / f"again{seed}", "retrain", seed, 0.4 + seed / 20)
        path = tmp_path / f"again{seed}" / "config.yaml"
        text = path.read_text().replace("em: paper", f"em: paper, run: found{seed}")
        path.write_text(text)
    [pair] = pairs(groups_in(tmp_path))
    assert pair.n == 2
    assert pair.difference == pytest.approx(-0.175)  # retrain 0.45, 0.50; found 0.6, 0.7


def test_tickets_of_other_methods_are_not_averaged(tmp_path: Path) -> None:
    for name, em in (("td", "paper"), ("bu", "other")):
        run(tmp_path / name, f"tickets_{name}", 1, 0.5, em=em)
        run(tmp_path / f"of_{name}", "retrain", 1, 0.4)
        path = tmp_path / f"of_{name}" / "config.yaml"
        path.write_text(path.read_text().replace("em: paper", f"em: paper, run: {name}"))
    both = [tmp_path / "of_td", tmp_path / "of_bu"]
    assert [len(group.runs) for group in groups_in(*both)] == [1, 1]


def test_a_method_with_a_seed_of_its_own_is_paired_with_others(tmp_path: Path) -> None:
    for seed in (1, 2):
        run(tmp_path / f"plain{seed}", "er", seed, 0.5 + seed / 10)
        run(tmp_path / f"drawn{seed}", "ranpac", seed, 0.4 + seed / 20)
        path = tmp_path / f"drawn{seed}" / "config.yaml"
        path.write_text(path.read_text().replace("em: paper", f"em: paper, seed: {seed}"))
    [pair] = pairs(groups_in(tmp_path))
    assert pair.n == 2


def test_seeds_that_one_method_has_more_of_are_averaged_before(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        run(tmp_path / f"a{seed}", "plain", seed, 0.5)
        for own in (1, 2):
            place = tmp_path / f"b{seed}{own}"
            run(place, "seeded", seed, 0.5 + seed / 100 + own / 10)
            text = (place / "config.yaml").read_text()
            (place / "config.yaml").write_text(text.replace("em: paper", f"em: paper, seed: {own}"))
    [pair] = pairs(groups_in(tmp_path))
    assert (pair.n, round(pair.difference, 6)) == (3, -0.17)
