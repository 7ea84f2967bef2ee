"""Which images of a task are its exemplars: at random, by herding, or those of a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lifelong.data import Images, Task
from lifelong.data.sources.pickled import by_label


class ExemplarChoice:
    """Chooses exemplars of each class of a task.

    Args:
        how: `random`, `herding`, or the path of a pickle {class number: uint8 (n, h, w, c)} of some
            of the training images, which are taken all.
        per_class: exemplars of a class.

    Raises:
        ValueError: fewer than one.
    """

    def __init__(self, how: str, per_class: int) -> None:
        if per_class < 1:
            raise ValueError(f"strategy.memory={per_class}: give 1 or more")
        self.how, self.per_class = how, per_class
        self._file: dict[int, NDArray[np.uint8]] | None = None

    @property
    def of_a_file(self) -> bool:
        """Whether they are those of a file."""
        return self.how not in ("random", "herding")

    def check(self, tasks: Sequence[Task]) -> None:
        """Refuses a file that has other images than the tasks.

        Raises:
            ValueError: it has.
        """
        for task in tasks if self.of_a_file else ():
            self.brought(task)

    def rows(self, task: Task, features: Callable[[Images], Tensor]) -> Tensor:
        """Places among the training images, (n,); these come in random order.

        Args:
            task: whose classes.
            features: (n, f) of images.

        Raises:
            ValueError: a file with other images.
        """
        if self.of_a_file:
            return self.brought(task)
        found = []
        for label in range(len(task.classes)):
            rows = torch.nonzero(task.train.y.cpu() == label).flatten()
            if self.how == "herding":
                here = F.normalize(features(task.train.part(rows)))
                rows = rows[herded(here, min(self.per_class, len(rows)))]
            found.append(rows[: self.per_class])
        return torch.cat(found)

    def brought(self, task: Task) -> Tensor:
        """The places of the images that the file has of a task's classes."""
        if self._file is None:
            self._file = by_label(Path(self.how).expanduser(), task.train.x.shape[1:])
        pixels = task.train.x[:].cpu().numpy()
        rows = {
            (label, pixels[row].tobytes()): row for row, label in enumerate(task.train.y.tolist())
        }
        found = [
            rows.get((label, image.tobytes()))
            for label, number in enumerate(task.classes)
            for image in self._file.get(number, ())
        ]
        if not found or None in found:
            raise ValueError(
                f"strategy.exemplars={self.how}: {found.count(None)} of its {len(found)} "
                f"images of {task.name} are not among the training images"
            )
        return torch.tensor(found)


def herded(features: Tensor, count: int) -> Tensor:
    """Rows whose running mean stays nearest to the mean of all, in the order they are taken.

    Rebuffi et al., "iCaRL: Incremental Classifier and Representation Learning", CVPR 2017.

    Args:
        features: (n, f).
        count: rows to take, at most n.
    """
    mean, total = features.mean(0), torch.zeros_like(features[0])
    free = torch.ones(len(features), dtype=torch.bool, device=features.device)
    found = []
    for number in range(1, count + 1):
        distances = (mean - (total + features) / number).square().sum(1)
        distances[~free] = torch.inf
        row = int(distances.argmin())
        free[row], total = False, total + features[row]
        found.append(row)
    return torch.tensor(found, dtype=torch.long)
