"""Groups of runs as tables of text, beside what was published."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from typing import Any

import pytest

from lifelong.comparison.compare import main
from lifelong.comparison.tables import grids, latex, markdown, tidy
from tests.comparison.finished_runs import groups_in, run


def test_means_over_seeds_beside_the_published(tmp_path: Path, capsys: Any) -> None:
    run(tmp_path / "1", "ours", 1, 0.40)
    run(tmp_path / "2", "ours", 2, 0.42)
    run(tmp_path / "3", "theirs", 1, 0.3)
    run(tmp_path / "4", "theirs", 2, 0.9, status="failed")
    assert main([str(tmp_path), "against=paper"]) == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == "toy: 2 tasks, 3 epochs, batch 10"
    accuracy = "41.0 +- 1.4 [28.3, 53.7]"  # t(1) = 12.706, deviation 1.414
    assert lines[4] == (
        f"| `ours` | 2 | **{accuracy}** | **{accuracy}** | **{accuracy}** | 39.3 +- 0.1 | +1.7 "
        "| **5.0 +- 0.0 [5.0, 5.0]** | **0.900 +- 0.000 [0.900, 0.900]** | 1,234 "
        "| 7 +- 0 [7, 7] |"
    )
    theirs = ("**30.0**", "**30.0**", "**30.0**", "-", "-", "**5.0**", "**0.900**", "1,234", "7")
    assert lines[5] == f"| `theirs` | 1 | {' | '.join(theirs)} |"  # within t(1)'s interval
    assert f"not finished: {tmp_path / '4'}\n" in captured.err
    table = list(csv.DictReader(io.StringIO((tmp_path / "comparison.csv").read_text())))
    peak = next(row for row in table if (row["method"], row["metric"]) == ("ours", "peak_accuracy"))
    assert [float(peak[key]) for key in ("mean", "deviation", "published", "difference")] == (
        pytest.approx([41.0, math.sqrt(2), 39.3, 1.7])
    )
    assert float(peak["ci95_high"]) == pytest.approx(41 + 12.7062 * 1, abs=1e-3)
    assert (tmp_path / "comparison.md").read_text() in captured.out
    assert main([str(tmp_path)]) == 0
    assert "39.3" not in capsys.readouterr().out
    config = tmp_path / "2" / "config.yaml"
    config.write_text(config.read_text() + "changed: [epochs=3, tasks=2]\n")
    assert main([str(tmp_path), "against=paper"]) == 0
    note = "ours: the published figures are not of epochs=3 tasks=2"
    assert f"\n{note}\n" in capsys.readouterr().out
    assert note in (tmp_path / "comparison.html").read_text()
    assert f"% {note}\n" in (tmp_path / "comparison.tex").read_text()


def test_times_and_weights_left_beside_the_published(tmp_path: Path, capsys: Any) -> None:
    """Seconds, the ratio to the method that the paper names, and shares of weights by task."""
    for seed, seconds in ((1, 30.0), (2, 50.0)):
        run(tmp_path / f"brute {seed}", "brute", seed, 0.4, seconds={"train": seconds})
        run(tmp_path / f"ours {seed}", "ours", seed, 0.4, seconds={"train": seconds / 5})
        left = {"remaining": {"1": 0.8, "2": 0.5 + seed / 100}}
        run(tmp_path / f"tickets {seed}", "tickets", seed, 0.4, method=left)
    for name, published in (
        ("brute", "{relative_time: [6.55, ours]}"),
        ("ours", "{seconds: [70200, null]}"),
        ("tickets", "{weights_left: [80, 64, 32.77]}"),
    ):
        for config in tmp_path.glob(f"{name} *"):
            path = config / "config.yaml"
            text = path.read_text()
            old = next(line for line in text.splitlines() if line.startswith("published"))
            path.write_text(text.replace(old, f"published: {published}"))
    assert main([str(tmp_path), "against=paper"]) == 0
    told = capsys.readouterr().out
    assert "| seconds of training | published seconds | time over another's |" in told
    assert "| - | 5.00 of ours, published 6.55 |" in told
    assert "| 70200 | - |" in told
    note = "tickets: % of weights left after each task, (published): "
    assert note + "80.00 (80.00), 51.50 (64.00), - (32.77)" in told
    assert note in (tmp_path / "comparison.html").read_text()
    assert main([str(tmp_path)]) == 0
    assert "70200" not in capsys.readouterr().out


def test_validation_is_not_put_beside_the_published(tmp_path: Path, capsys: Any) -> None:
    run(tmp_path / "1", "ours", 1, 0.5, measured_on="validation")
    assert main([str(tmp_path), "against=paper"]) == 0
    assert "39.3" not in capsys.readouterr().out


def test_latex_is_escaped(tmp_path: Path) -> None:
    run(tmp_path / "1", "my_method", 1, 0.40)
    run(tmp_path / "2", "my_method", 2, 0.42)
    found = latex(grids(groups_in(tmp_path)))
    assert r"my\_method & 2 & $41.0 \pm 1.4$ [28.3, 53.7]" in found
    assert r"final \%" in found
    assert found.count(r"\begin{tabular}") == found.count(r"\end{tabular}") == 1
    assert "my_method" in markdown(grids(groups_in(tmp_path)))
    assert tidy([]).count("\n") == 1


def test_orders_are_averaged_and_the_worst_and_best_are_told(tmp_path: Path) -> None:
    for order, final in ((1, 0.5), (2, 0.8), (3, 0.6)):
        folder = tmp_path / str(order)
        run(folder, "ours", 1, final)
        config = (folder / "config.yaml").read_text()
        (folder / "config.yaml").write_text(config.replace("{}", f"{{order_seed: {order}}}"))
    [group] = groups_in(tmp_path)
    assert len(group.runs) == 3
    [note] = grids([group])[0].notes
    assert (
        "over 3 orders: worst 50.0 % (data.order_seed=1), best 80.0 % (data.order_seed=2)" in note
    )


def test_what_is_taken_of_the_weights_is_a_column(tmp_path: Path, capsys: Any) -> None:
    """The share at the end; of layers apart, their mean."""
    run(tmp_path / "masks", "masks", 1, 0.4, method={"capacity": {"2": 0.75, "10": 0.9}})
    apart = {"capacity": {"1": {"a": 0.2, "b": 0.4}}}
    run(tmp_path / "layers", "layers", 1, 0.4, method=apart)
    run(tmp_path / "none", "none", 1, 0.4)
    assert main([str(tmp_path)]) == 0
    told = capsys.readouterr().out
    assert "| weights taken, % | seconds of training |" in told
    lines = {line.split("`")[1]: line for line in told.splitlines() if line.startswith("| `")}
    assert "| 90.00 |" in lines["masks"]
    assert "| 30.00 |" in lines["layers"]
    assert "30.00" not in lines["none"]


def three(folder: Path) -> None:
    """Of three methods the second is within the interval of the best, the third is not."""
    for name, finals in (("best", (0.80, 0.82, 0.84)), ("near", (0.79, 0.80)), ("far", (0.3,))):
        for seed, final in enumerate(finals):
            lost = 0.5 if name == "best" else 0.1
            metrics = {"final_accuracy": final, "forgetting": lost, "forgetting_ratio": final}
            run(folder / f"{name} {seed}", name, seed, final, metrics=metrics)


def test_the_best_and_its_ties_are_bold_everywhere(tmp_path: Path) -> None:
    three(tmp_path)
    (grid,) = grids(groups_in(tmp_path))
    marks = {row[0]: mark for row, mark in zip(grid.rows, grid.best, strict=True)}
    columns = [grid.heads.index(name) for name in ("final %", "forgetting %", "ratio")]
    found = {name: [mark[column] for column in columns] for name, mark in marks.items()}
    assert found == {
        "best": [True, False, True], "near": [True, True, True], "far": [False, True, False]
    }  # fmt: skip
    assert not any(mark[grid.heads.index("seconds of training")] for mark in grid.best)
    assert "**82.0 +- 2.0 [77.0, 87.0]**" in markdown([grid])
    tex = latex([grid])
    assert r"{\boldmath\textbf{$82.0 \pm 2.0$ [77.0, 87.0]}}" in tex
    assert tex.startswith("% needs \\usepackage{booktabs}\n")
    assert r"best & near & 2 & " in tex  # the paired tests
    assert main([str(tmp_path)]) == 0
    page = (tmp_path / "comparison.html").read_text()
    assert "<b>82.0 \u00b1 2.0<small>" in page


def test_one_method_alone_is_no_best(tmp_path: Path) -> None:
    run(tmp_path / "1", "alone", 1, 0.5)
    (grid,) = grids(groups_in(tmp_path))
    assert not any(map(any, grid.best))


def test_columns_are_those_asked_for_in_their_order(tmp_path: Path, capsys: Any) -> None:
    three(tmp_path)
    assert main([str(tmp_path), "columns=seconds,forgetting,final", "pdf=true"]) == 0
    head = capsys.readouterr().out.splitlines()[2]
    assert head == "| method | n | seconds of training | forgetting % | final % |"
    pdf = (tmp_path / "comparison_figures" / "accuracy_along_stream.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert main([str(tmp_path), "columns=final,speed"]) == 2
    assert "error: columns=speed: no run has it; give some of final_accuracy" in (
        capsys.readouterr().err
    )


def test_the_csv_file_has_the_columns_asked_for(tmp_path: Path) -> None:
    run(tmp_path / "1", "ours", 1, 0.4)
    groups = groups_in(tmp_path)
    rows = csv.DictReader(io.StringIO(tidy(groups, ["ratio", "seconds"])))
    assert [row["metric"] for row in rows] == ["forgetting_ratio", "seconds"]
    assert ",parameters," in tidy(groups)
    assert ",seconds," not in tidy(groups)


def test_other_images_under_the_same_seeds_are_told(tmp_path: Path) -> None:
    for name, checksum in (("ours", 1), ("theirs", 2)):
        run(tmp_path / name, name, 1, 0.4, images={"checksum": checksum})
    [grid] = grids(groups_in(tmp_path), against_paper=True)
    assert any(note.startswith("not the same images: ") for note in grid.notes)
    run(tmp_path / "third", "theirs", 2, 0.4, images={"checksum": 2})
    [grid] = grids(groups_in(tmp_path / "theirs", tmp_path / "third"), against_paper=True)
    assert grid.notes == [
        "against=paper: a paper's figures are known of none of these rows as it was run"
    ]
