"""A study of Optuna's, kept in the sweep's folder, and how it goes on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifelong import errors
from lifelong.comparison.statistics import summarize
from lifelong.storage.files import SEAL, seal, sealed, write_bytes, write_text
from lifelong.sweeps.space import GROUP, Point, Space

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial, TrialState

STUDY = "study.journal"  # Optuna's file, in the sweep's folder
TABLE = "search.csv"  # what it came to, beside it
SAMPLERS = ("grid", "random", "tpe")
MOST_PROPOSALS = 100  # that are known already, in a row


@dataclass
class Search:
    """A study and how it goes on.

    Args:
        study: of Optuna.
        space: what is searched.
        sampler: one of `SAMPLERS`.
        trials: points in all; None for all of the grid.
        seed: of the sampler.
    """

    study: Study
    space: Space
    sampler: str
    trials: int | None
    seed: int

    def __post_init__(self) -> None:
        told = self.space.told()
        before = self.study.user_attrs.get("space", told)
        if before != told:
            was, now = (
                [text for text in one if text not in other]
                for one, other in ((before, told), (told, before))
            )
            raise ValueError(
                f"search: the study in this folder has {' '.join(was) or 'no more'}, this command "
                f"{' '.join(now) or 'no more'}; give another paths.output_dir"
            )
        self.study.set_user_attr("space", told)
        self._again = self._open()
        self._failed: list[Point] = []  # by this command

    def _open(self) -> list[Point]:
        """Points to be run that need no sampler: of the grid, or begun and not finished."""
        for _ in self._in("WAITING"):
            self.study.ask()
        for trial in self._in("RUNNING"):
            self.study.tell(trial.number, state=self._fail)
        done = [trial.params for trial in self.finished()]
        points = [trial.params for trial in self._in("FAIL")]
        if self.sampler == "grid":
            points = self.space.grid()
        return [
            point
            for number, point in enumerate(points)
            if point not in done and point not in points[:number]
        ]

    def _in(self, state: str) -> list[FrozenTrial]:
        return [trial for trial in self.study.trials if trial.state.name == state]

    @property
    def _fail(self) -> TrialState:
        from optuna.trial import TrialState

        return TrialState.FAIL

    def finished(self) -> list[FrozenTrial]:
        """Trials whose runs all gave a value, in their order."""
        return self._in("COMPLETE")

    @property
    def total(self) -> int:
        """Points, those of earlier commands included."""
        if self.trials is None:
            return len(self._again) + len(self.finished())
        return min(self.trials, self.space.size)

    def ask(self, number: int) -> list[Trial]:
        """The next points, at most so many, all different from each other and from those before.

        None at the end, also where the sampler finds no other point any more.
        """
        asked: list[Trial] = []
        while len(asked) < number:
            if self._again:
                self.study.enqueue_trial(self._again.pop(0))
                asked.append(self.study.ask(self.space.options))
                continue
            known = [trial.params for trial in self.finished()] + self._failed
            known += [trial.params for trial in asked]
            if self.sampler == "grid" or len(known) >= self.total:
                break
            proposed = self._proposed(known)
            if proposed is None:
                break
            asked.append(proposed)
        return asked

    def _proposed(self, known: Sequence[Point]) -> Trial | None:
        """A point of the sampler's that is not known.

        Each proposal has a sampler of its own, seeded by the number of proposals so far, so that a
        study that goes on proposes what it would have.
        """
        from optuna.samplers import RandomSampler, TPESampler

        make = TPESampler if self.sampler == "tpe" else RandomSampler
        for _ in range(MOST_PROPOSALS):
            before = sum("fixed_params" not in trial.system_attrs for trial in self.study.trials)
            self.study.sampler = make(seed=self.seed * 1_000_003 + before)
            trial = self.study.ask(self.space.options)
            if trial.params not in known:
                return trial
            self.study.tell(trial, state=self._fail)
        return None

    def tell(self, trial: Trial, values: Sequence[float | None]) -> None:
        """What the runs of a point gave; None of one that failed."""
        found = [value for value in values if value is not None]
        if len(found) < len(values):
            self._failed.append(trial.params)
            self.study.tell(trial, state=self._fail)
        else:
            trial.set_user_attr("accuracies", found)
            self.study.tell(trial, summarize(found).mean)

    def ranked(self) -> list[FrozenTrial]:
        """Finished trials, the best first; of equal ones the first."""
        return sorted(self.finished(), key=lambda trial: -float(trial.value or 0))

    def write(self, folder: Path) -> None:
        """Writes the points with what their runs gave, accuracies in [0, 1], the best first."""
        table = io.StringIO()
        rows = csv.writer(table, lineterminator="\n")
        rows.writerow([*self.space.options, "accuracy", "deviation", "n"])
        for trial in self.ranked():
            of = summarize(trial.user_attrs["accuracies"])
            point = [trial.params[key] for key in self.space.options]
            rows.writerow([*point, of.mean, "" if of.n < 2 else of.std, of.n])
        write_text(folder / TABLE, table.getvalue())

    def found(self) -> str:
        """The best point in words."""
        best, *others = self.ranked()
        seeds = len(best.user_attrs["accuracies"])
        return (
            f"best of {1 + len(others)}: {' '.join(overrides_of(best.params))}: "
            f"{100 * float(best.value or 0):.2f} % on validation images (mean of {seeds})"
        )


def study_in(folder: Path) -> Study:
    """The study in a sweep's folder, gone on with or new.

    Raises:
        ValueError: a damaged one.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    class Sealed(JournalFileBackend):
        """A journal whose lines have checksums, see `_mend`."""

        def append_logs(self, logs: list[dict[str, Any]]) -> None:
            super().append_logs([sealed(log) for log in logs])

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folder.mkdir(parents=True, exist_ok=True)
    _mend(folder / STUDY)
    try:
        storage = JournalStorage(Sealed(str(folder / STUDY)))
        known: dict[str, Any] = {
            "storage": storage, "study_name": GROUP, "direction": "maximize", "load_if_exists": True
        }  # fmt: skip
        study = optuna.create_study(**known)
    except Exception as error:  # of many kinds: its lines are JSON, and do not fit each other
        raise ValueError(
            f"{folder / STUDY}: cannot be read ({errors.reason(error)}); put the file away, and "
            "the search begins anew (runs that are finished are not run again)"
        ) from None
    if not any(trial.state.name == "COMPLETE" for trial in study.trials):  # nothing is lost
        optuna.delete_study(study_name=GROUP, storage=storage)
        study = optuna.create_study(**known)
    return study


def _mend(journal: Path) -> None:
    """Cuts off what a kill left half written at the end of a study, and its lock.

    The caller has the folder to itself. A line that is not written to its end was told to nobody.

    Raises:
        ValueError: a study that is damaged elsewhere.
    """
    for lock in journal.parent.glob(f"{STUDY}.lock*"):
        lock.unlink()
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    for number, line in enumerate(whole.splitlines(), 1):
        try:
            found = json.loads(line)
            known = isinstance(found, dict) and found.get(SEAL) in (None, seal(found))
        except ValueError:
            known = False
        if not known:
            raise ValueError(
                f"{journal}: line {number} is damaged; put the file away, and the search begins "
                "anew (runs that are finished are not run again)"
            )
    if whole != content:
        write_bytes(journal, whole)


def overrides_of(point: Point) -> list[str]:
    """A point as overrides."""
    return [f"{key}={value}" for key, value in point.items()]
