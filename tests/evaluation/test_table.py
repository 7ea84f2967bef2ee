"""The table of several runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lifelong.evaluation.figures import against_option
from lifelong.evaluation.table import best, cell, curves, main, markdown, rows


def run(
    folder: Path, strategy: str, seed: int, final: float, em: str | float = "paper", **changes: Any
) -> None:
    """A folder as a finished run leaves it."""
    folder.mkdir(parents=True)
    metrics = {"final_accuracy": final, "peak_accuracy": final, "forgetting_ratio": 0.9}
    metrics |= {"learning_accuracy": final, "forgetting": 0.05}
    results = {
        "strategy": strategy, "data": "toy", "seed": seed, "status": "finished",
        "tasks": ["a", "b"], "metrics": metrics, "parameters": 1234, "seconds": {"train": 7.2},
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results | changes))
    published = "{peak_accuracy: [39.3, 0.1]}" if strategy == "ours" else "null"
    (folder / "config.yaml").write_text(
        f"epochs: 3\nbatch_size: 10\nlr: 0.0001\npublished: {published}\nseed: {seed}\n"
        f"strategy: {{em: {em}}}\npaths: {{data_dir: {seed}}}\n"
    )


def test_means_over_seeds_beside_the_published(tmp_path: Path, capsys: Any) -> None:
    run(tmp_path / "1", "ours", 1, 0.40)
    run(tmp_path / "2", "ours", 2, 0.42)
    run(tmp_path / "3", "theirs", 1, 0.3)
    run(tmp_path / "4", "theirs", 2, 0.9, status="failed")
    assert main([str(tmp_path)]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == "toy: 2 tasks, 3 epochs, batch 10"
    accuracy = "41.0 +- 1.4 (1.0)"
    assert lines[4] == (
        f"| `ours` | 2 | {accuracy} | {accuracy} | {accuracy} | 0.050 +- 0.000 (0.000) "
        "| - | 0.900 +- 0.000 (0.000) | 39.3 +- 0.1 | 1,234 | 7 +- 0 (0) |"
    )
    assert lines[5] == "| `theirs` | 1 | 30.0 | 30.0 | 30.0 | 0.050 | - | 0.900 | - | 1,234 | 7 |"
    assert captured.err == f"not finished: {tmp_path / '4'}\n"


def test_runs_under_other_protocols_are_not_averaged(tmp_path: Path) -> None:
    run(tmp_path / "1", "ours", 1, 0.4)
    run(tmp_path / "2", "ours", 2, 0.5)
    text = (tmp_path / "2" / "config.yaml").read_text()
    (tmp_path / "2" / "config.yaml").write_text(text.replace("epochs: 3", "epochs: 4"))
    found, _ = rows([tmp_path])
    assert [len(row.runs) for row in found] == [1, 1]
    assert markdown(found).count("toy: ") == 2


def test_cells() -> None:
    assert cell([], 1) == "-"
    assert cell([float("nan")], 1) == "-"
    assert cell([0.5], 100, 1) == "50.0"


def test_mistakes(tmp_path: Path, capsys: Any) -> None:
    assert main([str(tmp_path)]) == 2
    assert "holds no runs" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([])
    assert "usage" in capsys.readouterr().err
    run(tmp_path / "1", "ours", 1, 0.4)
    assert main(["--figure", "strategy.em", str(tmp_path)]) == 2
    assert "strategy.em: the runs have no two values of it" in capsys.readouterr().err


def test_a_figure_against_an_option(tmp_path: Path, capsys: Any) -> None:
    for number, (seed, strength) in enumerate([(1, 0.0), (2, 0.0), (1, 10.0), (1, 0.1)]):
        run(tmp_path / str(number), "ours", seed, 0.4, em=strength)
    assert main(["--figure", "strategy.em", str(tmp_path)]) == 0
    path = tmp_path / "against_strategy.em.png"
    assert str(path) in capsys.readouterr().out
    with Image.open(path) as picture:
        assert picture.width > 500
    left, _ = against_option(curves(rows([tmp_path])[0], "strategy.em"), "strategy.em").axes
    points = left.containers[0].lines[0]
    assert points.get_xdata().tolist() == [0.0, 0.1, 10.0]
    assert points.get_ydata().tolist() == [40.0] * 3


def test_runs_with_other_options_are_rows_of_their_own(tmp_path: Path) -> None:
    run(tmp_path / "1", "ours", 1, 0.4)
    run(tmp_path / "2", "ours", 2, 0.5)
    run(tmp_path / "3", "ours", 1, 0.3, em="release")
    found, _ = rows([tmp_path, tmp_path / "1"])  # a folder named twice counts once
    assert [(row.method, len(row.runs)) for row in found] == [
        ("ours strategy.em=paper", 2),
        ("ours strategy.em=release", 1),
    ]


def test_the_best_options_of_each_method(tmp_path: Path, capsys: Any) -> None:
    run(tmp_path / "1", "ours", 1, 0.4, measured_on="validation")
    run(tmp_path / "2", "ours", 2, 0.5, measured_on="validation")
    run(tmp_path / "3", "ours", 1, 0.46, em="release", measured_on="validation")
    run(tmp_path / "4", "theirs", 1, 0.3, measured_on="validation", fidelity="authors")
    found, _ = rows([tmp_path])
    assert {row.method for row in best(found)} == {"ours strategy.em=release", "theirs"}
    assert main(["--best", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "batch 10, measured on validation images" in printed
    assert "batch 10, as released, measured on validation images" in printed
    assert "paper" not in printed
