"""How metrics are called and shown, the same everywhere."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Metric:
    """How a metric is called and shown, the same everywhere.

    Attributes:
        words: its name.
        heading: a short one, for columns; with the unit.
        meaning: in one line.
        factor: on the value in [0, 1] that files hold; 100 where it is shown in percent.
        digits: behind the point.
    """

    words: str
    heading: str
    meaning: str
    factor: float = 100
    digits: int = 1

    @property
    def unit(self) -> str:
        """`%`, or `1` of a pure number."""
        return "%" if self.factor == 100 else "1"

    def text(self, value: float | None) -> str:
        """A value as it is shown.

        >>> METRICS["forgetting"].text(0.025), METRICS["forgetting_ratio"].text(0.9)
        ('2.5 %', '0.900')
        """
        if self.factor == 100:
            return percent(value, self.digits)
        if value is None or math.isnan(value):
            return "-"
        small = 0 < abs(value) < 10.0**-self.digits
        return f"{value:.3g}" if small else f"{value:z.{self.digits}f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A value in [0, 1] in percent; a dash where there is none."""
    return "-" if value is None or math.isnan(value) else f"{100 * value:z.{digits}f} %"


METRICS = {
    "final_accuracy": Metric(
        "final accuracy", "final %", "mean accuracy of all tasks at the end"
    ),
    "final_accuracy_of_images": Metric(
        "final accuracy of images", "final of images %",
        "share of right answers to all test images at the end, large tasks counting more",
    ),
    "average_accuracy": Metric(
        "average accuracy", "average %", "mean over visits of the mean accuracy of the seen tasks"
    ),
    "learning_accuracy": Metric(
        "learning accuracy", "learning %", "mean accuracy of each task just after it was learned"
    ),
    "peak_accuracy": Metric(
        "peak accuracy", "peak %",
        "mean accuracy of each task in the epoch of its best validation accuracy",
    ),
    "forgetting": Metric(
        "forgetting", "forgetting %", "mean of best accuracy - last accuracy, tasks but the last"
    ),
    "forgetting_before_last": Metric(
        "forgetting before the last", "forgetting before the last %",
        "as forgetting, the best sought before the last visit; may be negative",
    ),
    "backward_transfer": Metric(
        "backward transfer", "backward transfer %",
        "mean of last accuracy - accuracy when learned, tasks but the last; negative is forgetting",
    ),
    "backward_transfer_with_last": Metric(
        "backward transfer with the last", "backward transfer with the last %",
        "as backward transfer over all tasks, the last one's being 0",
    ),
    "forgetting_ratio": Metric(
        "forgetting ratio", "ratio",
        "mean of last accuracy / accuracy when learned, tasks but the last; 1 is none", 1, 3,
    ),
    "forgetting_ratio_with_last": Metric(
        "forgetting ratio with the last", "ratio with the last",
        "as forgetting ratio over all tasks, the last one's being 1", 1, 3,
    ),
    "forgetting_ratio_to_peak": Metric(
        "forgetting ratio to peak", "ratio to peak",
        "mean over all tasks of last accuracy / peak accuracy", 1, 3,
    ),
    "forward_transfer": Metric(
        "forward transfer", "forward transfer %",
        "mean of accuracy just before a task is learned - that of the untrained network, tasks but "
        "the first",
    ),
    "intransigence": Metric(
        "intransigence", "intransigence %",
        "mean of a reference's accuracy of each task at its end - accuracy when learned",
    ),
    "knowledge_transfer": Metric(
        "knowledge transfer", "knowledge transfer %",
        "mean of accuracy of each task at the end - a reference's",
    ),
    "anytime_accuracy": Metric(
        "average anytime accuracy", "anytime %",
        "mean over the tests inside visits of the mean accuracy of the tasks seen",
    ),
    "minimum_accuracy": Metric(
        "minimum accuracy", "minimum %",
        "mean of the lowest accuracy inside visits after a task was learned, tasks but the last",
    ),
    "worst_case_accuracy": Metric(
        "worst-case accuracy", "worst case %",
        "(1/T) accuracy of the last task at the end + (1 - 1/T) minimum accuracy",
    ),
}  # fmt: skip
# What ends the names of metrics of answers without the task given, and with it.
WITHOUT_TASK, WITH_TASK = "_class", "_task"
_HOW = {WITHOUT_TASK: "class-incremental", WITH_TASK: "task-incremental"}


# Of accuracies without the task given, where the heads are such.
APART = (
    "heads of the tasks are trained apart and never compete; heads=incremental has one for all "
    "classes."
)


def heads_apart(target: object) -> bool:
    """Whether heads, by the name of their class, answer for a task with weights of its own."""
    return str(target).rpartition(".")[2] in ("MultiHead", "OutputMatrix")


def of_images(text: str, results: Mapping[str, Any]) -> str:
    """A text about test images, of a run that was measured on validation images.

    >>> of_images("Test accuracy of all test images", {"measured_on": "validation"})
    'Validation accuracy of all validation images'
    """
    if results.get("measured_on", "test") == "test":
        return text
    for word in ("Test accuracy", "test images"):
        text = text.replace(word, word.replace("Test", "Validation").replace("test", "validation"))
    return text


def other_way(results: Mapping[str, Any]) -> str | None:
    """What ends the names of the accuracies in the other way of asking, if it was measured."""
    return next((end for end in _HOW if f"accuracy{end}" in results), None)


def how_asked(end: str) -> str:
    """What an end of a name says of the way of asking."""
    return _HOW[end]


def metric_of(name: str) -> Metric | None:
    """The metric of a name in results.json, or of one with something behind it.

    >>> metric_of("final_accuracy_class").heading, metric_of("final_accuracy_dense").words
    ('final %, class-incremental', 'final accuracy, dense')
    """
    if name in METRICS:
        return METRICS[name]
    first = max((known for known in METRICS if name.startswith(f"{known}_")), key=len, default=None)
    if first is None:
        end = next((end for end in _HOW if name.endswith(end)), "")
        words = name.removesuffix(end).replace("_", " ") + (f", {_HOW[end]}" if end else "")
        own = name.startswith("final_")  # of a measure
        return Metric(words, words, "mean over the tasks at the end", 1, 4) if own else None
    of, rest = METRICS[first], name.removeprefix(first)
    how = _HOW.get(rest, rest.replace("_", " ").strip())
    words, heading, meaning = (f"{text}, {how}" for text in (of.words, of.heading, of.meaning))
    return Metric(words, heading, meaning, of.factor, of.digits)


def is_accuracy(name: str) -> bool:
    """Whether a metric is one of the accuracy matrix, and not of another measure.

    >>> is_accuracy("final_accuracy_dense"), is_accuracy("final_loss_class")
    (True, False)
    """
    return name in METRICS or any(name.startswith(f"{known}_") for known in METRICS)


def caption_of(name: str, captions: Mapping[str, str]) -> str:
    """What a figure shows, by its name; also of answers without the task given."""
    for end, how in ((WITHOUT_TASK, "The task is not given."), (WITH_TASK, "The task is given.")):
        if name.endswith(end) and name not in captions:
            return f"{captions[name.removesuffix(end)]} {how}"
    return captions[name]
