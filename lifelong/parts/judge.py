"""The images whose accuracy decides, and which accuracy that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from lifelong.data import Images, Task

Part = Literal["val", "test"]


class Judge:
    """Decides on validation images, or on test images as some released programs do.

    Args:
        part: `val`, or `test`, for comparison with such a program alone.
    """

    def __init__(self, part: Part) -> None:
        self.part = part

    def check(self, tasks: Sequence[Task]) -> None:
        """Refuses tasks without such images.

        Raises:
            ValueError: the option, its value and what would do.
        """
        empty = [task.name for task in tasks if not len(self.images([task]))]
        if empty:
            raise ValueError(
                f"strategy.decide_on={self.part}: {empty[0]} has no such images; give a larger "
                "data.validation"
            )

    def images(self, tasks: Sequence[Task]) -> Images:
        """Those of some tasks, joined."""
        return Images.joined([task.test if self.part == "test" else task.val for task in tasks])

    def accuracy(self, metrics: Mapping[str, float]) -> float:
        """Of the metrics of a round whose `score_on` are the test images, if these decide."""
        if self.part == "test":
            return metrics["score"]
        last = metrics.get("val/accuracy", metrics["val/best"])
        return metrics.get("val/restored", last)  # of the network that is carried on
