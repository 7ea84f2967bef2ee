"""Where Hydra finds the rows of published tables, see `lifelong.configuration.tables`."""

from __future__ import annotations

from hydra.core.config_search_path import ConfigSearchPath
from hydra.plugins.search_path_plugin import SearchPathPlugin

from lifelong.configuration.compose import FOLDER
from lifelong.configuration.tables import TableSource  # noqa: F401 - found here by Hydra


class Tables(SearchPathPlugin):
    """Adds the folder of tables to the places of configurations."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        search_path.append("lifelong", f"tables://{FOLDER / 'tables'}")
