"""Where Hydra looks for the sweeper; all that it does for searches stands in lifelong.sweeps."""

from __future__ import annotations

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn


class Sweeper(BasicSweeper):
    """Runs the points of a sweep, or what a search asks for, with Hydra's launchers."""

    def sweep(self, arguments: list[str]) -> list[list[JobReturn]]:
        from lifelong.sweeps.sweeper import is_search, run_search

        if is_search():
            return run_search(self, arguments)
        found: list[list[JobReturn]] = super().sweep(arguments)
        return found

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Composes the runs before the first begins, unless all of them were looked at."""
        from lifelong.sweeps.sweeper import all_looked_at

        if not all_looked_at():
            super().validate_batch_is_legal(batch)
