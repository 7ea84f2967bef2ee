"""Metrics of lifelong learning as pure functions of the accuracy matrix.

The matrix A has a row for every visit to a task and a column for every task; A[k, j] is the test
accuracy of task j after visit k, in [0, 1], NaN where task j was not yet met or not measured.
`visits[k]` is the task that visit k learned. A metric that the matrix does not define is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def learned_at(visits: Sequence[int]) -> dict[int, int]:
    """The row after which each task was last learned.

    >>> learned_at([0, 1, 0])
    {0: 2, 1: 1}
    """
    return {task: row for row, task in enumerate(visits)}


def from_rows(rows: Sequence[Sequence[float | None]], tasks: int) -> Matrix:
    """The matrix of the rows in results.json, which have null where nothing was measured."""
    values = [[math.nan if value is None else value for value in row] for row in rows]
    return np.array(values, dtype=float).reshape(len(rows), tasks)


def forgotten(a: Matrix, visits: Sequence[int]) -> dict[int, float]:
    """Of each task met, by its number, its best A in any row - A at the end; see `forgetting`."""
    best = _best(a, visits, sorted(set(visits[: len(a)])))
    return {task: value - float(a[-1, task]) for task, value in best.items()}


def final_accuracy(a: Matrix) -> float:
    """Mean of the last row: (1/T) sum_t A[T, t]; NaN unless all seen tasks were measured."""
    return math.nan if in_part(a)[-1] else _mean(_met(a[-1]))


def average_accuracy(a: Matrix) -> float:
    """Mean over rows of the mean accuracy of the seen tasks (average incremental accuracy).

    Of rows in which some of them were not measured nothing is known, and nothing counted.
    """
    return _mean([_mean(_met(row)) for row in a[~in_part(a)]])


def mean_of_seen(a: Matrix) -> list[float]:
    """After each visit the mean accuracy of the seen tasks; NaN unless all of them were measured.

    >>> mean_of_seen(np.array([[1.0, math.nan], [math.nan, 0.5], [0.5, 0.0]]))
    [1.0, nan, 0.25]
    """
    parts = in_part(a)
    return [math.nan if part else _mean(_met(row)) for part, row in zip(parts, a, strict=True)]


def in_part(a: Matrix) -> NDArray[np.bool_]:
    """Which rows have a value, and lack one of a task that was measured before, (visits,)."""
    measured = ~np.isnan(a)
    lacks = np.logical_or.accumulate(measured, 0) & ~measured
    found: NDArray[np.bool_] = np.logical_and(measured.any(1), lacks.any(1))
    return found


def learning_accuracy(a: Matrix, visits: Sequence[int]) -> float:
    """Accuracy of each task just after it was learned: (1/T) sum_t A[t, t] (TAG)."""
    return _mean(list(_learned(a, visits).values()))


def forgetting(a: Matrix, visits: Sequence[int]) -> float:
    """Mean over tasks but the last of max_i A[i, j] - A[T, j], i over all rows (TAG's program)."""
    lost = forgotten(a, visits)
    return _mean([lost[task] for task in _earlier(visits)])


def forgetting_before_last(a: Matrix, visits: Sequence[int]) -> float:
    """As `forgetting`, but the best row is sought before the last one; may be negative (TAG)."""
    best = _best(a[:-1], visits, _earlier(visits))
    return _mean([value - a[-1, task] for task, value in best.items()])


def forgetting_ratio(a: Matrix, visits: Sequence[int]) -> float:
    """Mean over tasks but the last of A[T, t] / A[t, t]; 1 is no forgetting (LASEM)."""
    learned = _learned(a, visits)
    return _mean([_ratio(a[-1, task], learned[task]) for task in _earlier(visits)])


def forgetting_ratio_with_last(a: Matrix, visits: Sequence[int]) -> float:
    """As `forgetting_ratio`, the last task counted in, which is 1 by definition."""
    last = visits[len(a) - 1]
    shares = [
        1.0 if task == last else _ratio(a[-1, task], value)
        for task, value in _learned(a, visits).items()
    ]
    return _mean(shares)


def forgetting_ratio_to_peak(a: Matrix, visits: Sequence[int], peak: Sequence[float]) -> float:
    """Mean over all tasks of A[T, t] / peak_t."""
    return _mean([_ratio(a[-1, task], peak[task]) for task in sorted(set(visits))])


def backward_transfer(a: Matrix, visits: Sequence[int]) -> float:
    """Mean over tasks but the last of A[T, t] - A[t, t]; negative is forgetting."""
    learned = _learned(a, visits)
    return _mean([a[-1, task] - learned[task] for task in _earlier(visits)])


def backward_transfer_with_last(a: Matrix, visits: Sequence[int]) -> float:
    """As `backward_transfer` over all tasks, the last one's being 0, as TAG's tables have it."""
    return final_accuracy(a) - learning_accuracy(a, visits)


def forward_transfer(ahead: Matrix, untrained: Matrix, visits: Sequence[int]) -> float:
    """Mean over tasks but the first of A[i - 1, i] - b_i (Lopez-Paz, Ranzato, NeurIPS 2017).

    Args:
        ahead: A of the tasks that were not yet learned, (visits, tasks).
        untrained: b, accuracy of each task before anything is learned, (tasks,).
        visits: task of each row.
    """
    first = {task: visits.index(task) for task in dict.fromkeys(visits[: len(ahead) + 1])}
    return _mean([
        float(ahead[row - 1, task] - untrained[task]) for task, row in first.items() if row > 0
    ])  # fmt: skip


def against(a: Matrix, visits: Sequence[int], reference: Sequence[float]) -> dict[str, float]:
    """Intransigence (Chaudhry et al., ECCV 2018, section 3.2) and transfer against other runs.

    Args:
        a: (visits, tasks).
        visits: task of each row.
        reference: accuracy of each task at the end of runs that learn it alone, or all together.
    """
    learned = _learned(a, visits)
    return {
        "intransigence": _mean([reference[task] - value for task, value in learned.items()]),
        "knowledge_transfer": _mean([float(a[-1, task]) - reference[task] for task in learned]),
    }


def anytime(
    rows: Sequence[tuple[int, Mapping[int, float]]],
    visits: Sequence[int],
    last: float,
) -> dict[str, float | None]:
    """Average anytime, minimum and worst-case accuracy (De Lange et al., ICLR 2023, section 3).

    The latter two are None if a task but the last was never tested inside a later visit.

    Args:
        rows: of each test the number of its visit, and by task the accuracy on the tasks seen.
        visits: task of each visit until then.
        last: accuracy of the last task at the end.
    """
    average = _mean([_mean(list(found.values())) for _, found in rows])
    lowest: dict[int, float] = {}
    for visit, found in rows:
        for task, value in found.items():
            if task in visits[: visit - 1] and task not in (visits[visit - 1], visits[-1]):
                lowest[task] = min(value, lowest.get(task, math.inf))
    count, wanted = len(set(visits)), set(visits) - {visits[-1]}
    minimum = _mean(list(lowest.values())) if wanted <= set(lowest) else math.nan
    worst = last if count == 1 else last / count + (1 - 1 / count) * minimum
    values = {
        "anytime_accuracy": average, "minimum_accuracy": minimum, "worst_case_accuracy": worst
    }  # fmt: skip
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def metrics(a: Matrix, visits: Sequence[int], peak: Sequence[float]) -> dict[str, float | None]:
    """All of them by name; None where the matrix does not define one.

    Args:
        a: (visits, tasks).
        visits: task of each row.
        peak: for each task the test accuracy of its best-validation epoch while it was learned.
    """
    values = {
        "final_accuracy": final_accuracy(a),
        "peak_accuracy": _mean([peak[task] for task in sorted(set(visits))]),
        "learning_accuracy": learning_accuracy(a, visits),
        "average_accuracy": average_accuracy(a),
        "forgetting": forgetting(a, visits),
        "forgetting_before_last": forgetting_before_last(a, visits),
        "forgetting_ratio": forgetting_ratio(a, visits),
        "forgetting_ratio_with_last": forgetting_ratio_with_last(a, visits),
        "forgetting_ratio_to_peak": forgetting_ratio_to_peak(a, visits, peak),
        "backward_transfer": backward_transfer(a, visits),
        "backward_transfer_with_last": backward_transfer_with_last(a, visits),
    }
    return {name: None if math.isnan(value) else value for name, value in values.items()}


def _learned(a: Matrix, visits: Sequence[int]) -> dict[int, float]:
    """A[t, t]: the accuracy of each task just after it was last learned."""
    return {task: float(a[row, task]) for task, row in sorted(learned_at(visits).items())}


def _earlier(visits: Sequence[int]) -> list[int]:
    return sorted(set(visits) - {visits[-1]})


def _best(a: Matrix, visits: Sequence[int], tasks: Sequence[int]) -> dict[int, float]:
    """The best accuracy of each of some tasks in any row; NaN if none followed its learning."""
    best = {}
    for task in tasks:
        measured = not math.isnan(a[visits.index(task), task])
        best[task] = float(np.nanmax(a[:, task])) if measured else math.nan
    return best


def _ratio(final: float, reference: float) -> float:
    return final / reference if reference > 0 else math.nan


def _met(row: Matrix) -> list[float]:
    known: list[float] = row[~np.isnan(row)].tolist()
    return known


def _mean(values: Sequence[float]) -> float:
    """The mean; NaN if there is nothing, or a part is undefined."""
    return sum(float(value) for value in values) / len(values) if values else math.nan
