"""What a run has found out so far, and the files that say so."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lifelong.measures import Tally
from lifelong.measures.matrix import (
    Matrix,
    anytime,
    forward_transfer,
    in_part,
    learned_at,
    metrics,
)
from lifelong.measures.metrics import WITH_TASK, WITHOUT_TASK
from lifelong.storage.files import known, sealed, write_json, write_text
from lifelong.storage.results import CONFIG

TEST = "test"
BEFORE = "test_before_commit"  # before the method changed earlier tasks at the task's end
CLASS, TASK = "test_without_task", "test_with_task"  # in the other way than the run decides by
OTHER = {"task": (CLASS, WITHOUT_TASK), "class": (TASK, WITH_TASK)}  # split and end of names
PEAK = "test_at_best_epoch"
UNTRAINED, AHEAD = "test_untrained", "test_ahead"  # before the first visit; of tasks to come
BESIDE = "test_of_"  # another network that the method keeps, by its name
# Columns of `Record.counts`: number of the visit, index of the task, place of the split in
# `Record.splits`, right answers, images.
VISIT, TASK_OF, SPLIT, RIGHT, TOTAL = range(5)


class Record:
    """Right answers and images of every evaluation, and times.

    Args:
        strategy: name of the method.
        data: name of the stream.
        seed: of the run.
        visits: task of each visit of the stream.
        names: of the tasks.
    """

    def __init__(
        self, strategy: str, data: str, seed: int, visits: Sequence[int], names: Sequence[str]
    ) -> None:
        self.strategy, self.data, self.seed = strategy, data, seed
        self.visits, self.names = list(visits), list(names)
        self.splits: list[str] = []  # that were asked
        self.counts = np.zeros((0, 5), int)  # of an evaluation each: see `VISIT` and what follows
        self.values: list[list[Any]] = []  # likewise [visit, task, split, measure, value]
        self.anytime: list[list[Any]] = []  # [visit, steps trained, right and total of each task]
        self.seconds = {"imports": 0.0, "setup": 0.0, "train": 0.0, "evaluate": 0.0}
        self.parameters: list[int] = []  # kept after each visit
        self.bytes: list[dict[str, int]] = []  # likewise, by what they are for
        self.multiply_adds: dict[str, int] = {}  # of a training step and of an answer, if counted
        self.peak_memory: dict[str, int] = {}
        self.plasticity: list[dict[str, Any]] = []  # after each visit, if it is looked at
        self.single_size: int | None = None  # parameters of a plain network for one task
        self.images: dict[str, Any] = {}
        self.classes: list[Sequence[int]] = []  # class numbers of each task
        self.class_names: list[list[str]] = []  # likewise
        self.fidelity: str | None = "clean"  # None where nothing of the run reads it
        self.measured_on, self.eval_mode = TEST, "task"
        self.published: dict[str, Any] = {}  # a paper's figures for this run
        self.config: int | None = None  # checksum of config.yaml
        self.validation: dict[
            str, dict[str, Any]
        ] = {}  # curve of each visit, see `append_downsampled`

    def add(self, visit: int, split: str, tally: Tally) -> None:
        """Enters what was counted and measured of each task."""
        found = [[visit, task, 0, *counts] for task, counts in tally.counts().items()]
        self._enter(split, np.array(found, int).reshape(-1, 5))
        for name, values in tally.values().items():
            if any(isinstance(value, dict) for value in values.values()):  # tables: the latest
                self.values = [row for row in self.values if row[2:4] != [split, name]]
            self.values += [[visit, task, split, name, value] for task, value in values.items()]

    def take_over(self, visit: int, task: int, split: str, to: str) -> None:
        """Enters what was counted of a task after a visit under another split, too."""
        found = self.of(split, visit)
        self._enter(to, found[found[:, TASK_OF] == task])

    def _enter(self, split: str, counts: NDArray[np.int_]) -> None:
        if not len(counts):
            return
        if split not in self.splits:
            self.splits.append(split)
        counts[:, SPLIT] = self.splits.index(split)
        self.counts = np.concatenate([self.counts, counts])

    def add_steps(self, visit: int, steps: int, tally: Tally) -> None:
        """Enters what was counted inside a visit, after so many training steps of the stream."""
        counts = [[task, right, total] for task, (right, total) in tally.counts().items()]
        self.anytime.append([visit, steps, counts])

    @property
    def steps(self) -> int:
        """Visits for which something was measured, or that lie before one."""
        return int(self.counts[:, VISIT].max(initial=0))

    def of(self, split: str, visit: int | None = None) -> NDArray[np.int_]:
        """Right answers and images of a split, (n, 5); after one visit, or all."""
        if split not in self.splits:
            return self.counts[:0]
        found: NDArray[np.int_] = self.counts[self.counts[:, SPLIT] == self.splits.index(split)]
        return found if visit is None else found[found[:, VISIT] == visit]

    def matrix(self, split: str = TEST) -> Matrix:
        """Accuracies of a split in [0, 1], one row for each visit so far, NaN where unmeasured."""
        matrix = np.full((self.steps, len(self.names)), math.nan)
        found = self.of(split)
        matrix[found[:, VISIT] - 1, found[:, TASK_OF]] = found[:, RIGHT] / found[:, TOTAL]
        return matrix

    def chance(self) -> dict[str, list[float]]:
        """After each visit the mean accuracy over the tasks met of answers drawn at random.

        `task`: among the classes of the image's task; `class`: among all classes met.
        """
        found: dict[str, list[float]] = {"task": [], "class": []}
        shares, classes = dict[int, float](), set[int]()  # of the tasks met
        for task in self.visits[: self.steps] if self.classes else ():
            shares[task] = 1 / len(self.classes[task])
            classes.update(self.classes[task])
            found["task"].append(sum(shares.values()) / len(shares))
            found["class"].append(1 / len(classes))
        return found

    def peak(self) -> list[float]:
        """For each task the test accuracy of its best-validation epoch, at its last learning."""
        matrix = self.matrix(PEAK)
        last = learned_at(self.visits[: self.steps])
        return [
            float(matrix[last[task], task]) if task in last else math.nan
            for task in range(len(self.names))
        ]

    def metrics(self) -> dict[str, float | None]:
        """All metrics of the visits so far; empty before the first.

        Beside those of the answers by which the run decides stand those in the other way (`_class`
        without the task given, `_task` with it), before a method changed earlier tasks
        (`_before_commit`), and of networks that it keeps beside its own.
        """
        found = self._of(TEST)
        split, end = OTHER[self.eval_mode]
        if self.has(split):
            others = self._of(split).items()
            found |= {f"{name}{end}": value for name, value in others if "peak" not in name}
        if self.has(BEFORE):
            before = self._of(BEFORE)
            for name in ("final_accuracy", "forgetting_ratio"):
                found[f"{name}_before_commit"] = before[name]
        if self.has(AHEAD) and self.has(UNTRAINED):
            value = forward_transfer(self.matrix(AHEAD), self.matrix(UNTRAINED)[0], self.visits)
            end = WITH_TASK if self.eval_mode == "class" else ""  # they were asked with it
            found[f"forward_transfer{end}"] = None if math.isnan(value) else value
        if self.anytime and self.steps:
            last = self.visits[self.steps - 1]
            done = self.visits[: self.steps]  # of one that is not finished nothing counts yet
            rows = [
                (visit, self._shares(counts)) for visit, _, counts in self.anytime
                if visit <= self.steps
            ]  # fmt: skip
            found |= anytime(rows, done, float(self.matrix()[-1, last]))
        for name, split in self.auxiliary.items():
            found[f"final_accuracy_{name}"] = self._of(split)["final_accuracy"]
        return found

    def _of(self, split: str) -> dict[str, float | None]:
        if not self.steps:
            return {}
        found = metrics(self.matrix(split), self.visits[: self.steps], self.peak())
        last = self.of(split, self.steps)
        right, images = last[:, [RIGHT, TOTAL]].sum(0).tolist()
        whole = bool(images) and not in_part(self.matrix(split))[-1]
        found["final_accuracy_of_images"] = right / images if whole else None
        for name, matrix in self.measured(split).items():
            values = [matrix[-1][task] for task in last[:, TASK_OF].tolist()]
            numbers = [value for value in values if _is_number(value)]
            if numbers:  # no table
                known = whole and len(numbers) == len(values)
                found[f"final_{name}"] = sum(numbers) / len(numbers) if known else None
        return found

    def _shares(self, counts: Sequence[Sequence[int]]) -> dict[int, float]:
        return {task: right / total for task, right, total in counts}

    def measured(self, split: str = TEST) -> dict[str, list[list[Any]]]:
        """Of each measure beside accuracy a row for each visit, a value for each task or None."""
        found: dict[str, list[list[Any]]] = {}
        for visit, task, name, measure, value in self.values:
            if name == split:
                rows = found.setdefault(
                    measure, [[None] * len(self.names) for _ in range(self.steps)]
                )
                rows[visit - 1][task] = value
        return found

    def results(self, status: str, method: dict[str, Any]) -> dict[str, Any]:
        """The content of results.json."""
        results = {
            "strategy": self.strategy,
            "data": self.data,
            "seed": self.seed,
            "fidelity": self.fidelity,
            "measured_on": self.measured_on,
            "evaluate": self.eval_mode,
            "published": self.published,
            "status": status,
            "tasks": self.names,
            "classes": self.class_names,
            "visits": [task + 1 for task in self.visits],  # numbers of the tasks, from 1
            "accuracy": _plain(self.matrix()),
            "metrics": self.metrics(),
            "parameters": self.parameters[-1] if self.parameters else None,
            "parameters_after_visit": self.parameters,
            "parameters_of_a_single_network": self.single_size,
            "bytes_after_visit": self.bytes,
            "multiply_adds": self.multiply_adds,
            "peak_memory": self.peak_memory,
            "peak_accuracy_of_task": _plain(np.array([self.peak()]))[0],
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "images": self.images,
            "chance": self.chance(),
            "validation": self.validation,
            "method": method,
            CONFIG: self.config,
        }
        other, end = OTHER[self.eval_mode]
        for key, split in (
            (f"accuracy{end}", other), ("accuracy_before_commit", BEFORE),
            ("accuracy_ahead", AHEAD), ("accuracy_untrained", UNTRAINED),
        ):  # fmt: skip
            if self.has(split):
                results[key] = _plain(self.matrix(split))
        measured = self.measured() | {f"{k}{end}": rows for k, rows in self.measured(other).items()}
        if measured:
            results["measures"] = measured
        if self.plasticity:
            results["plasticity"] = self.plasticity
        if self.anytime:
            results["anytime"] = [
                {"visit": visit, "steps": steps,
                 "accuracy": {str(task + 1): value for task, value in self._shares(counts).items()}}
                for visit, steps, counts in self.anytime
            ]  # fmt: skip
        for name, split in self.auxiliary.items():
            results[f"accuracy_{name}"] = _plain(self.matrix(split))
        return results

    @property
    def auxiliary(self) -> dict[str, str]:
        """Splits of the networks that the method keeps beside its own, by their names."""
        splits = [split for split in sorted(self.splits) if split.startswith(BESIDE)]
        return {split.removeprefix(BESIDE): split for split in splits}

    def has(self, split: str) -> bool:
        """Whether anything of the split was measured."""
        return split in self.splits

    def write(self, folder: Path, status: str, method: dict[str, Any]) -> None:
        """Writes results.json and accuracy.csv."""
        results = self.results(status, method)
        try:
            content = sealed(results)
        except (ValueError, TypeError):  # what a method or a measure tells of may be no number
            content = sealed(known(results))
        write_json(folder / "results.json", content)
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(
            ["strategy", "data", "seed", "after_visit", "task", "split", "accuracy", "n"]
        )
        splits = [split.replace(TEST, self.measured_on, 1) for split in self.splits]
        table.writerows(
            [self.strategy, self.data, self.seed, visit, task + 1, splits[split], right / total,
             total]
            for visit, task, split, right, total in self.counts.tolist()
        )  # fmt: skip
        write_text(folder / "accuracy.csv", text.getvalue())

    def state_dict(self) -> dict[str, Any]:
        """All of it, `counts` as a tensor."""
        return {name: getattr(self, name) for name in _STATE} | {
            "counts": torch.from_numpy(self.counts)
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Also of a checkpoint of version 0.2.0, which has the counts as rows."""
        if "rows" in state:
            splits = list(dict.fromkeys(row[2] for row in state["rows"]))
            rows = [[*row[:2], splits.index(row[2]), *row[3:]] for row in state["rows"]]
            state = {**state, "splits": splits, "counts": torch.tensor(rows).view(-1, 5)}
        for name in _STATE:
            setattr(self, name, state[name])
        self.counts = state["counts"].numpy()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_STATE = (
    "splits", "values", "anytime", "seconds", "parameters", "bytes", "multiply_adds", "peak_memory",
    "validation", "images", "single_size", "plasticity",
)  # fmt: skip


def _plain(matrix: Matrix) -> list[list[float | None]]:
    return [[None if math.isnan(value) else float(value) for value in row] for row in matrix]
