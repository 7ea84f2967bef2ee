"""Options of a short run, and its images."""

from __future__ import annotations

from typing import Any

from hydra.utils import instantiate

from lifelong.finished.load import Run

OPTIONS = ["data=digits", "tasks=3", "batch_size=32", "logger=none", "epochs=2"]
MAS = [*OPTIONS, "strategy=mas", "optimizer=sgd", "lr=0.05", "data.fraction=0.3"]


def images(run: Run, task: int) -> Any:
    return instantiate(run.config.data, _convert_="all").tasks[task].test
