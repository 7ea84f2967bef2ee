"""Configurations of runs, read back and compared."""

from __future__ import annotations

from lifelong.configuration.complete import complete
from lifelong.configuration.stored import differences
from tests.conftest import configured


def test_differences_name_what_would_change_results() -> None:
    old, new = configured("epochs=3"), configured("epochs=4", "logger=none", "keep=all")
    for config in (old, new):
        complete(config)
    old.paths.data_dir = "elsewhere"
    assert differences(old, new) == ["epochs: was 3, is now 4"]
    assert differences(old, old) == []
