"""In place of Hydra's sweeper: searches whose values a formula gives."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf

from lifelong.sweeps.sweeper import run_search

UNITS = "units=int(tag(log,interval(1,8)))"
LOG = "lr=tag(log,interval(1e-4,1e-1))"


def parsed(*texts: str) -> list[Any]:
    return OverridesParser.create().parse_overrides(list(texts))


def bowl(overrides: dict[str, str]) -> float:
    """A value with its highest, 1, at lr=0.01 and b=3."""
    far = abs(math.log10(float(overrides["lr"])) + 2) + abs(int(overrides.get("b", 3)) - 3)
    return 1 - far / 10


class Killed(Exception):
    """Stands for a process that ends without a word."""


class Fake:
    """In place of Hydra's sweeper and launcher: values by a formula; may fail or be killed."""

    def __init__(
        self,
        folder: Path,
        value: Callable[[dict[str, str]], float] = bowl,
        killed_after: int = 10**9,
        fails: Callable[[dict[str, str]], bool] = lambda overrides: False,
        **options: Any,
    ) -> None:
        given = {"sampler": "tpe", "trials": 6, "at_once": None, "seed": 1, "space": []} | options
        self.config = OmegaConf.create(
            {"search": given, "hydra": {"sweep": {"dir": str(folder)}, "overrides": {"hydra": []}}}
        )
        self.hydra_context = SimpleNamespace(config_loader=None)
        self.launcher = self
        self.value, self.left, self.fails = value, killed_after, fails
        self.batches: list[list[dict[str, str]]] = []

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        assert all(isinstance(text, str) for job in batch for text in job)

    def launch(self, batch: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        assert initial_job_idx == sum(map(len, self.batches))
        asked = [dict(text.partition("=")[::2] for text in job) for job in batch]
        self.batches.append(asked)
        return [self.run(overrides) for overrides in asked]

    def run(self, overrides: dict[str, str]) -> JobReturn:
        self.left -= 1
        if self.left < 0:
            raise Killed
        if self.fails(overrides):
            return JobReturn(status=JobStatus.FAILED, _return_value=ValueError("diverged"))
        return JobReturn(status=JobStatus.COMPLETED, _return_value=self.value(overrides))

    def sweep(self, *arguments: str) -> None:
        run_search(self, arguments)  # type: ignore[arg-type]

    @property
    def asked(self) -> list[dict[str, str]]:
        return [job for batch in self.batches for job in batch]


def table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "search.csv").read_text().splitlines()))
