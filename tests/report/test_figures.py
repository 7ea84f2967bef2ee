"""What the figures of a run show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from lifelong.comparison.compare import main
from lifelong.comparison.groups import curves
from lifelong.report.figures import against_option
from tests.comparison.finished_runs import groups_in, run


def test_a_figure_against_an_option(tmp_path: Path, capsys: Any) -> None:
    for number, (seed, strength) in enumerate([(1, 0.0), (2, 0.0), (1, 10.0), (1, 0.1)]):
        run(tmp_path / str(number), "ours", seed, 0.4, em=strength)
    assert main(["figure=strategy.em", str(tmp_path)]) == 0
    path = tmp_path / "against_strategy.em.png"
    assert str(path) in capsys.readouterr().out
    with Image.open(path) as picture:
        assert picture.width > 500
    left, _ = against_option(curves(groups_in(tmp_path), "strategy.em"), "strategy.em").axes
    points = left.containers[0].lines[0]
    assert points.get_xdata().tolist() == [0.0, 0.1, 10.0]
    assert points.get_ydata().tolist() == [40.0] * 3
