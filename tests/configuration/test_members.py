"""Members of groups, and copies of them."""

from __future__ import annotations

from pathlib import Path

from lifelong.configuration.complete import complete
from lifelong.configuration.compose import composed
from lifelong.configuration.members import copied


def test_a_copy_keeps_what_the_method_has_on_a_stream(tmp_path: Path) -> None:
    copied("er", tmp_path)
    copied("split_cub", tmp_path)
    given = ["strategy=my_er", "data=my_split_cub", "optimizer=adam", "backbone=conv_small"]
    config = composed(given, str(tmp_path))
    complete(config)
    assert (config.strategy.memory, config.lr) == (200, 0.0001)
    config = composed(["strategy=my_er", "data=digits"], str(tmp_path))
    assert config.strategy.memory == 100
