"""Where Hydra looks for the sweeper of `search=`; all that it does stands in lifelong.sweeps."""

from __future__ import annotations

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.utils import JobReturn


class Sweeper(BasicSweeper):
    """Runs what a search asks for, with Hydra's launchers."""

    def sweep(self, arguments: list[str]) -> list[list[JobReturn]]:
        from lifelong.sweeps.sweeper import run_search

        return run_search(self, arguments)
