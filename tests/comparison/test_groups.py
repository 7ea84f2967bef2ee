"""Which runs are averaged, and what tells the others apart."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lifelong.comparison.compare import main
from lifelong.comparison.groups import best, curves, differing, grouped, refer
from lifelong.comparison.runs import read
from lifelong.comparison.tables import grids
from tests.comparison.finished_runs import added, groups_in, run


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        ({"data": "other"}, {}),
        ({"tasks": ["a"], "visits": [1], "accuracy": [[0.5]]}, {}),
        ({"fidelity": "authors"}, {}),
        ({"measured_on": "validation"}, {}),
        ({"evaluate": "class"}, {}),
        ({"method": {"unlabeled": "stl10"}}, {}),
        ({"images": {"train": [5, 5], "test": [2, 2]}}, {}),
        ({}, {"epochs: 3": "epochs: 4"}),
    ],
)
def test_what_is_not_comparable_is_not_averaged(
    tmp_path: Path, changes: dict[str, Any], config: dict[str, str]
) -> None:
    run(tmp_path / "1", "ours", 1, 0.4, images={"train": [6, 5], "test": [2, 2]})
    run(tmp_path / "2", "ours", 2, 0.5, **changes)
    text = (tmp_path / "2" / "config.yaml").read_text()
    for old, new in config.items():
        text = text.replace(old, new)
    (tmp_path / "2" / "config.yaml").write_text(text)
    found = groups_in(tmp_path)
    assert [len(group.runs) for group in found] == [1, 1]
    assert len(grids(found)) == 2
    assert not any(grid.tests for grid in grids(found))


def test_runs_with_other_options_are_rows_of_their_own(tmp_path: Path) -> None:
    run(tmp_path / "1", "ours", 1, 0.4)
    run(tmp_path / "2", "ours", 2, 0.5)
    run(tmp_path / "3", "ours", 1, 0.3, em="release")
    found = groups_in(tmp_path, tmp_path / "1")  # a folder named twice counts once
    assert [(group.label, len(group.runs)) for group in found] == [
        ("ours strategy.em=paper", 2),
        ("ours strategy.em=release", 1),
    ]
    assert differing(found) == ["strategy.em"]
    (grid,) = grids(found)
    assert grid.options[0] == ["method", "strategy.em"]


def test_members_of_groups_tell_rows_apart_before_options(tmp_path: Path) -> None:
    for number, rate in ((1, 0.1), (2, 0.2)):
        run(tmp_path / str(number), "ours", 1, 0.4, em=rate)
        path = tmp_path / str(number) / "config.yaml"
        path.write_text(path.read_text() + f"choices: {{optimizer: kind{number}, data: toy}}\n")
    assert [g.label for g in groups_in(tmp_path)] == [
        "ours optimizer=kind1",
        "ours optimizer=kind2",
    ]


def test_by_refuses_to_average_what_differs(tmp_path: Path, capsys: Any) -> None:
    run(tmp_path / "1", "ours", 1, 0.4)
    run(tmp_path / "2", "ours", 2, 0.5, em="release")
    assert main([str(tmp_path), "by=lr"]) == 2
    error = capsys.readouterr().err
    assert "are not averaged: strategy.em is paper and release; add strategy.em to by" in error
    assert not (tmp_path / "comparison.csv").exists()
    assert main([str(tmp_path), "by=strategy.em,lr"]) == 0


def test_a_copy_of_a_run_does_not_count_twice(tmp_path: Path, capsys: Any) -> None:
    run(tmp_path / "1", "ours", 1, 0.4)
    run(tmp_path / "2", "ours", 1, 0.4)
    assert [len(group.runs) for group in groups_in(tmp_path)] == [1]
    run(tmp_path / "3", "ours", 1, 0.41)
    assert main([str(tmp_path)]) == 2
    assert "the same options and seeds gave different results" in capsys.readouterr().err


def test_the_best_options_of_each_method(tmp_path: Path, capsys: Any) -> None:
    run(tmp_path / "1", "ours", 1, 0.4, measured_on="validation")
    run(tmp_path / "2", "ours", 2, 0.5, measured_on="validation")
    run(tmp_path / "3", "ours", 1, 0.46, em="release", measured_on="validation")
    run(tmp_path / "4", "theirs", 1, 0.3, measured_on="validation", fidelity="authors")
    assert {group.label for group in best(groups_in(tmp_path))} == {
        "ours strategy.em=release", "theirs"
    }  # fmt: skip
    assert main(["best=true", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "batch 10, measured on validation images" in printed
    assert "batch 10, official implementation, measured on validation images" in printed
    assert "em=paper" not in printed


def test_the_same_number_in_another_order_is_the_same(tmp_path: Path) -> None:
    for seed, text in ((1, "b: {x: 100, y: 2}\n"), (2, "b: {y: 2.0, x: 100.0}\n")):
        run(tmp_path / str(seed), "ours", seed, 0.5)
        added(tmp_path / str(seed), text)
    assert [len(group.runs) for group in groups_in(tmp_path)] == [2]


def test_by_a_member_of_a_group(tmp_path: Path) -> None:
    for number, member in enumerate(("top1", "top2")):
        run(tmp_path / member, "ours", 1, 0.5, em=number)
        added(tmp_path / member, f"choices: {{transfer: {member}}}\n")
    runs, _, _ = read([tmp_path])
    assert [g.label for g in grouped(runs, ["transfer"])] == [
        "ours transfer=top1", "ours transfer=top2"
    ]  # fmt: skip
    with pytest.raises(ValueError, match="by=transfr: no run has such an option"):
        grouped(runs, ["transfr"])


def test_curves_of_what_else_is_the_same(tmp_path: Path, capsys: Any) -> None:
    for number in (1, 2):
        run(tmp_path / f"t{number}", "ours", 1, 0.5, em=number)
        run(tmp_path / f"v{number}", "ours", 1, 0.6, em=number, measured_on="validation")
    found = curves(groups_in(tmp_path), "strategy.em")
    assert {name: [value for value, _ in points] for name, points in found.items()} == {
        "ours, toy, measured_on=test": [1, 2], "ours, toy, measured_on=validation": [1, 2]
    }  # fmt: skip
    assert main([str(tmp_path), "figure=strategy.em", "best=true"]) == 2
    assert "figure: draws all runs" in capsys.readouterr().err
    for folder in tmp_path.iterdir():
        content = json.loads((folder / "results.json").read_text())
        content["metrics"]["forgetting"] = None
        (folder / "results.json").write_text(json.dumps(content))
    assert main([str(tmp_path), "figure=strategy.em"]) == 0


def test_intransigence_and_transfer_against_other_runs(tmp_path: Path, capsys: Any) -> None:
    """By hand: each task when learned and at the end, less the mean of two reference runs."""
    rows = [[0.5, None], [0.4, 0.7]]
    run(tmp_path / "ours" / "1", "ours", 1, 0.55, accuracy=rows)
    for seed, ends in ((1, [0.8, 0.9]), (2, [0.6, 0.9])):
        values = [[None, None], ends]
        run(tmp_path / "joint" / str(seed), "joint", seed, 0.8, accuracy=values)
    out = tmp_path / "out"
    given = [str(tmp_path / "ours"), f"out={out}", f"reference={tmp_path / 'joint'}"]
    assert main(given) == 0
    runs = read([tmp_path / "ours"])[0]
    refer(runs, groups_in(tmp_path / "joint"))
    [grid] = grids(grouped(runs))
    row = dict(zip(grid.heads, grid.rows[0], strict=True))
    assert row["intransigence %, joint"] == f"{50 * (0.7 - 0.5 + 0.9 - 0.7):.1f}"
    assert row["knowledge transfer %, joint"] == f"{50 * (0.4 - 0.7 + 0.7 - 0.9):.1f}"
    assert "knowledge_transfer_joint" in (out / "comparison.csv").read_text()
    run(tmp_path / "more" / "1", "joint", 1, 0.8, em=3.0, accuracy=[[None, None], [0.5, 0.5]])
    references = groups_in(tmp_path / "joint", tmp_path / "more")
    refer(runs, [replace(group, label="joint") for group in references])
    found = {n: v for n, v in runs[0].results["metrics"].items() if n.startswith("intransigence")}
    assert sorted(found) == ["intransigence_joint", "intransigence_joint_2"]
    classes = {"classes": [["cat"], ["dog"]], "accuracy": rows}
    run(tmp_path / "classes" / "1", "ours", 1, 0.5, **classes)
    assert main([str(tmp_path / "classes"), *given[1:]]) == 2
    capsys.readouterr()
    run(tmp_path / "other" / "1", "ours", 1, 0.5, data="birds")
    assert main([str(tmp_path / "other"), *given[1:]]) == 2
    told = capsys.readouterr().err
    assert f"reference: no run of it has learned the tasks of {tmp_path / 'other'}" in told


def stream(folder: Path, seed: int, data: str, classes: list[list[int]], train: list[int]) -> None:
    images = {"train": train, "test": [2, 2]}
    run(folder, "ours", seed, 0.4 + seed / 10, classes=classes, images=images)
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("data: {}", f"data: {data}"))


def test_seeds_that_deal_out_classes_of_other_sizes_are_averaged(tmp_path: Path) -> None:
    dealt = "{shuffle_classes: true, class_seed: %d}"
    for seed, train in ((1, [5, 6]), (2, [7, 5]), (3, [5, 6])):
        classes = [[0, 1], [2, 3]] if seed != 2 else [[0, 2], [1, 3]]
        stream(tmp_path / str(seed), seed, dealt % seed, classes, train)
    (group,) = groups_in(tmp_path)
    assert len(group.runs) == 3
    assert ", 11 to 12 training and 4 test images" in group.table


def test_other_images_and_classes_stand_in_other_tables(tmp_path: Path) -> None:
    """Of the same number, too; how images are served makes no other stream."""
    plain = "{noise: 0, standardize: train}"
    stream(tmp_path / "a", 1, plain, [[0, 1], [2, 3]], [5, 6])
    stream(tmp_path / "b", 1, "{noise: 0, standardize: none}", [[0, 1], [2, 3]], [5, 6])
    stream(tmp_path / "c", 1, "{noise: 0.9, standardize: train}", [[0, 1], [2, 3]], [5, 6])
    stream(tmp_path / "d", 2, plain, [[0, 1], [2, 3]], [6, 5])  # of another state of the set
    found = groups_in(tmp_path)
    assert len(found) == 4
    tables = [group.table for group in found]
    assert len(set(tables)) == 3
    assert sum(table.endswith("noise 0.9") for table in tables) == 1
    clean = [group for group in found if group.runs[0].folder.name == "c"]
    with pytest.raises(ValueError, match="no run of it has learned the tasks of"):
        refer([run for group in found for run in group.runs if run.folder.name == "a"], clean)


def test_what_is_asked_for_tells_apart_first(tmp_path: Path) -> None:
    for number, strength in enumerate((1, 100)):
        run(tmp_path / str(number), "ours", 1, 0.4)
        config = tmp_path / str(number) / "config.yaml"
        text = config.read_text().replace("{em: paper}", f"{{a: {number}, strength: {strength}}}")
        config.write_text(text)
    found = grouped(read([tmp_path])[0], ["strategy.strength", "strategy.a"])
    assert {group.label for group in found} <= {
        "ours strategy.strength=1", "ours strategy.strength=100", "ours strategy.a=0",
        "ours strategy.a=1",
    }  # fmt: skip
    assert not any("strategy.a=0 strategy" in group.label for group in found)


def test_options_that_follow_the_one_that_is_drawn_make_no_curves(tmp_path: Path) -> None:
    for number, (rate, seed) in enumerate([(1, 1), (1, 2), (3, 1)]):
        run(tmp_path / str(number), "ours", seed, 0.4)
        config = tmp_path / str(number) / "config.yaml"
        text = config.read_text().replace("{em: paper}", f"{{em: {rate}, lr: {10 * rate}}}")
        config.write_text(text)
    (points,) = curves(groups_in(tmp_path), "strategy.em").values()
    assert [value for value, _ in points] == [1.0, 3.0]


def test_what_is_measured_beside_accuracy_makes_no_row(tmp_path: Path) -> None:
    for seed in (1, 2):
        run(tmp_path / str(seed), "ours", seed, 0.4)
    added(tmp_path / "2", "costs: true\nplasticity: true\nmeasure: {loss: {_target_: x}}\n")
    [group] = groups_in(tmp_path)
    assert (group.label, len(group.runs)) == ("ours", 2)


def test_rows_stand_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for em in (1000, 20, 5, 0.5):
        run(tmp_path / str(em), "ours", 1, 0.4, em)
    found = [group.options["strategy.em"] for group in groups_in(tmp_path)]
    assert [float(value) for value in found] == [0.5, 5, 20, 1000]


def test_runs_are_averaged_over_seeds_and_not_told_apart_by_them(tmp_path: Path) -> None:
    run(tmp_path / "1", "ours", 1, 0.4)
    with pytest.raises(ValueError, match=r"by=seed: runs are averaged over it"):
        grouped(read([tmp_path])[0], ["seed"])


def test_of_options_without_a_value_the_best_has_one(tmp_path: Path) -> None:
    run(tmp_path / "1", "ours", 1, 0.4, 0.1, metrics={"final_accuracy": None})
    run(tmp_path / "2", "ours", 1, 0.4, 0.2)
    assert [group.options["strategy.em"] for group in best(groups_in(tmp_path))] == [0.2]
