import math

import numpy as np
import pytest

from lifelong.measures.matrix import Matrix, anytime, average_accuracy, in_part, metrics

N = math.nan
HAND = np.array([[0.8, N, N], [0.6, 0.9, N], [0.7, 0.85, 0.75]])
IMPROVING = np.array([[0.6, N, N], [0.65, 0.9, N], [0.7, 0.95, 0.8]])


def test_by_hand() -> None:
    found = metrics(HAND, [0, 1, 2], [0.8, 0.95, 0.75])
    expected = {
        "final_accuracy": (0.7 + 0.85 + 0.75) / 3,
        "peak_accuracy": (0.8 + 0.95 + 0.75) / 3,
        "learning_accuracy": (0.8 + 0.9 + 0.75) / 3,
        "average_accuracy": (0.8 + 0.75 + (0.7 + 0.85 + 0.75) / 3) / 3,
        "forgetting": 0.075,
        "forgetting_before_last": 0.075,
        "forgetting_ratio": (0.7 / 0.8 + 0.85 / 0.9) / 2,
        "forgetting_ratio_with_last": (0.7 / 0.8 + 0.85 / 0.9 + 1) / 3,
        "forgetting_ratio_to_peak": (0.7 / 0.8 + 0.85 / 0.95 + 1) / 3,
        "backward_transfer": -0.075,
        "backward_transfer_with_last": -0.05,
    }
    assert found == pytest.approx(expected)


def test_improvement_is_no_forgetting_in_one_form_and_negative_in_the_other() -> None:
    found = metrics(IMPROVING, [0, 1, 2], [1, 1, 1])
    assert found["forgetting"] == pytest.approx(0)
    assert found["forgetting_before_last"] == pytest.approx(-0.05)
    assert found["backward_transfer"] == pytest.approx(0.075)


def test_frozen_columns_have_ratio_one() -> None:
    matrix = np.array([[0.8, N, N], [0.8, 0.9, N], [0.8, 0.9, 0.75]])
    assert metrics(matrix, [0, 1, 2], [1, 1, 1])["forgetting_ratio"] == 1.0


def test_one_task_defines_no_forgetting() -> None:
    found = metrics(np.array([[0.5]]), [0], [0.6])
    assert found["final_accuracy"] == 0.5
    assert found["forgetting"] is None
    assert found["forgetting_ratio"] is None


@pytest.mark.parametrize("matrix", [np.array([[N, N], [0.5, 0.7]])])
def test_what_was_not_measured_is_not_made_up(matrix: Matrix) -> None:
    """Joint training measures the last row only."""
    found = metrics(matrix, [0, 1], [N, 0.7])
    assert found["final_accuracy"] == pytest.approx(0.6)
    for name in ("learning_accuracy", "forgetting", "forgetting_ratio", "average_accuracy"):
        assert found[name] is None


def test_a_task_visited_again_counts_from_its_last_visit() -> None:
    matrix = np.array([[0.8, N], [0.4, 0.9], [0.9, 0.6]])
    found = metrics(matrix, [0, 1, 0], [0.9, 0.9])
    assert found["learning_accuracy"] == pytest.approx(0.9)
    assert found["forgetting_ratio"] == pytest.approx(0.6 / 0.9)


def test_rows_measured_in_part_count_for_their_own_task_alone() -> None:
    whole = np.array([[0.9, N, N], [0.8, 0.7, N], [0.6, 0.5, 0.4]])
    part = whole.copy()
    part[1, 0] = N
    visits, peak = [0, 1, 2], [1.0, 1.0, 1.0]
    assert in_part(part).tolist() == [False, True, False]
    assert not in_part(whole).any()
    found, full = metrics(part, visits, peak), metrics(whole, visits, peak)
    assert found["average_accuracy"] == pytest.approx((0.9 + 0.5) / 2)
    assert found | {"average_accuracy": 0} == full | {"average_accuracy": 0}
    late = np.array([[N, N], [N, N], [0.6, 0.5]])  # learned at once
    assert not in_part(late).any()
    assert math.isnan(average_accuracy(late))


def test_of_a_last_row_measured_in_part_nothing_final_is_known() -> None:
    found = metrics(np.array([[0.9, N], [N, 0.8]]), [0, 1], [1.0, 1.0])
    assert found["final_accuracy"] is None
    assert found["backward_transfer_with_last"] is None
    assert found["learning_accuracy"] == pytest.approx(0.85)


def test_the_last_task_has_kept_all_of_what_it_knows() -> None:
    found = metrics(np.array([[0.8, N], [0.4, 0.0]]), [0, 1], [1.0, 1.0])
    assert found["forgetting_ratio_with_last"] == pytest.approx((0.5 + 1) / 2)


def test_zero_accuracy_makes_no_ratio() -> None:
    assert metrics(np.array([[0.0, N], [0.1, 0.5]]), [0, 1], [0, 0.5])["forgetting_ratio"] is None


def test_a_task_never_tested_inside_a_later_visit_has_no_minimum() -> None:
    first = [(1, {0: 0.9}), (2, {0: 0.2, 1: 0.9})]
    found = anytime(first, [0, 1, 2], 0.9)
    assert found["minimum_accuracy"] is None
    assert found["worst_case_accuracy"] is None
    found = anytime([*first, (3, {0: 0.5, 1: 0.4})], [0, 1, 2], 0.9)
    assert found["minimum_accuracy"] == pytest.approx(0.3)
    assert found["worst_case_accuracy"] == pytest.approx(0.9 / 3 + 0.2)
