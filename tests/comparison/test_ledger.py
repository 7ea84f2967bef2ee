"""The ledger: published figures, ours, and whether they agree."""

from __future__ import annotations

import csv
import json
import math
import os
import shlex
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from scipy.stats import ttest_ind_from_stats

from lifelong.comparison import curves, ledger
from lifelong.comparison.begun import begun
from lifelong.comparison.runs import digest, options_of, read
from lifelong.comparison.statistics import summarize, tolerance
from lifelong.comparison.tables import published_of
from lifelong.configuration.complete import complete
from lifelong.configuration.members import members
from lifelong.configuration.plain import as_dict
from lifelong.storage.checkpoint import Checkpoint
from lifelong.sweeps import reproduce
from tests.comparison.finished_runs import added, groups_in, rows_in, run
from tests.conftest import configured

OURS = "choices: {experiment: lasem/cifar100_ours}\n"


def made(folder: Path, seed: int, final: float, **more: Any) -> None:
    """A finished run of a row whose published peak accuracy is 39.3 +- 0.1."""
    run(folder, "ours", seed, final, **more)
    added(folder, OURS)
    told = {"commit": f"{seed}" * 40, "platform": "Linux", "device": "cpu"}
    (folder / "environment.json").write_text(json.dumps(told))


def test_the_tolerance_is_that_of_welch() -> None:
    """At a difference of the tolerance the p-value of Welch's test is 5 %."""
    ours = summarize([40.0, 41.0, 43.5])
    allowed = tolerance(ours, 0.7)
    p = ttest_ind_from_stats(
        ours.mean, ours.std, 3, ours.mean + allowed, 0.7, 5, equal_var=False
    ).pvalue
    assert p == pytest.approx(0.05)
    assert tolerance(ours, None) == pytest.approx(ours.ci95)
    assert tolerance(summarize([40.0]), 0.7) == pytest.approx(2.7764 * 0.7 * 1.2**0.5, rel=1e-4)
    assert math.isnan(tolerance(summarize([40.0]), None))
    assert tolerance(summarize([40.0, 40.0]), None) == 0


def test_a_line_for_each_published_figure(tmp_path: Path) -> None:
    made(tmp_path / "1", 1, 0.40)
    made(tmp_path / "2", 2, 0.41)
    run(tmp_path / "3", "theirs", 1, 0.3)  # of no row
    found = ledger.record(tmp_path / "ledger.csv", ledger.lines(rows_in(tmp_path)))
    with (tmp_path / "ledger.csv").open(encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == found
    (line,) = found
    wanted = {
        "row": "lasem/cifar100_ours", "stream": "toy", "metric": "peak_accuracy",
        "published": "39.3", "published_deviation": "0.1", "ours": "40.5", "deviation": "0.707",
        "difference": "1.2", "verdict": "within", "extent": "full", "changed": "", "seeds": "1,2",
        "values": "40 41", "command": "lifelong reproduce lasem/cifar100_ours seeds=1,2",
        "commit": "111111111111 222222222222", "machine": "Linux", "device": "cpu", "seconds": "7",
    }  # fmt: skip
    assert {key: line[key] for key in wanted} == wanted
    assert float(line["tolerance"]) == pytest.approx(
        tolerance(summarize([40.0, 41.0]), 0.1), rel=1e-2
    )
    assert ledger.told(line).startswith(
        "lasem/cifar100_ours: peak % 40.5 +- 0.707 (2 seeds), published 39.3 +- 0.1: within (1.2 "
    )


def test_seeds_come_together_and_other_options_stay_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.csv"
    for seed, final in ((1, 0.30), (2, 0.31), (1, 0.32)):  # seed 1 is run again
        folder = tmp_path / f"{seed}_{final}"
        made(folder, seed, final)
        ledger.record(path, ledger.lines(rows_in(folder)))
    made(tmp_path / "reduced", 1, 0.35)
    added(tmp_path / "reduced", "changed: [epochs=3]\n")
    ledger.record(path, ledger.lines(rows_in(tmp_path / "reduced")))
    whole, reduced = ledger.read(path)
    assert (whole["seeds"], whole["values"], whole["verdict"]) == ("1,2", "32 31", "outside")
    assert (reduced["extent"], reduced["changed"], reduced["seeds"]) == ("reduced", "epochs=3", "1")
    assert reduced["command"].endswith("seeds=1 epochs=3")
    made(tmp_path / "other", 4, 0.36, em="other")  # the row is no longer what it was
    notes: list[str] = []
    new = ledger.lines(rows_in(tmp_path / "other"))
    assert ledger.record(path, new, notes.append) == []  # of a row that is not ours nobody knows
    assert "no row of lifelong" in notes.pop()
    monkeypatch.setattr(ledger, "digest_now", lambda line, home: new[0]["options"])
    ledger.record(path, new, notes.append)
    assert [line["seeds"] for line in ledger.read(path)] == ["4", "1"]
    assert notes == [
        "lasem/cifar100_ours: its seeds 1,2 are taken out, since they are of the row as it was "
        "before"
    ]


def test_a_run_of_a_row_as_it_was_before_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, notes = tmp_path / "ledger.csv", list[str]()
    made(tmp_path / "now", 1, 0.40)
    (line,) = ledger.record(path, ledger.lines(rows_in(tmp_path / "now")))
    monkeypatch.setattr(ledger, "digest_now", lambda asked, home: line["options"])
    made(tmp_path / "before", 2, 0.30, em="other")
    assert ledger.record(path, ledger.lines(rows_in(tmp_path / "before")), notes.append) == []
    assert [each["seeds"] for each in ledger.read(path)] == ["1"]
    assert "left out, since it is of the row as it was before" in notes[0]


def test_an_option_that_is_new_and_not_used_makes_no_other_row() -> None:
    before = {"strategy.em": "paper", "lr": 0.1}
    new = {"strategy.joint": None, "compile": False, "restore_best": 0, "strategy.on": []}
    same = {"seed": 3, "data.seed": 4, "name": "x", "trainer.accelerator": "gpu"}
    assert digest({**before, **new, **same}) == digest(before)
    assert digest({**before, "strategy.joint": True}) != digest(before)


def test_runs_of_other_seeds_than_the_row_s_are_not_the_row(tmp_path: Path) -> None:
    """Its seeds follow from `seed`: else two runs would be its seed 1."""
    made(tmp_path / "1", 1, 0.40)
    made(tmp_path / "2", 1, 0.30)
    added(tmp_path / "2", "seeds: {init: 4}\nchanged: [seeds.init=4]\n")
    found = ledger.record(tmp_path / "ledger.csv", ledger.lines(rows_in(tmp_path)))
    assert [(line["changed"], line["values"]) for line in found] == [
        ("", "40"), ("seeds.init=4", "30")
    ]  # fmt: skip


def test_changes_stand_as_a_shell_reads_them(tmp_path: Path) -> None:
    made(tmp_path / "1", 1, 0.40)
    added(tmp_path / "1", "changed: ['name=a b', 'epochs=3', '+schedule.at=[5, 6]']\n")
    (line,) = ledger.record(tmp_path / "ledger.csv", ledger.lines(rows_in(tmp_path)))
    assert line["changed"] == "epochs=3 'name=a\\ b' 'schedule.at=[5,6]'"
    assert line["command"].endswith(f"seeds=1 {line['changed']}")


def test_what_is_published_by_task_is_no_figure_of_the_ledger() -> None:
    published = {"final_accuracy": [51.4, 3.2], "average_accuracy_after": {1: 54.4, 20: 51.4}}
    assert ledger.figures(published) == ["final_accuracy"]
    assert ledger.figures({"weights_left": [90, 80]}) == ["final_accuracy"]


def test_published_figures_are_rounded() -> None:
    line = dict.fromkeys(ledger.COLUMNS, "") | {"row": "a", "metric": "final_accuracy"}
    for published, verdict in (("40", "within"), ("40.1", "outside"), ("39", "outside")):
        line["published"] = published
        assert ledger.judged(line, {1: 40.2, 2: 40.2})["verdict"] == verdict, published


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (",40 41,", ",40 x,", "could not convert string to float: 'x'"),
        (",40 41,", ",40,", "zip() argument 2 is shorter"),
        (",cpu,7", ",cpu", "has not 20 cells"),
        (",cpu,7", ",cpu,seven", "could not convert string to float: 'seven'"),
    ],
)
def test_a_damaged_line_is_told_by_file_and_number(
    tmp_path: Path, old: str, new: str, why: str, capsys: Any
) -> None:
    path = tmp_path / "ledger.csv"
    for seed in (1, 2):
        made(tmp_path / f"{seed}", seed, 0.39 + seed / 100)
    ledger.record(path, ledger.lines(rows_in(tmp_path)))
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert reproduce.main([f"from={tmp_path / '1'}", f"ledger={path}"]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"error: {path}: line 2 is damaged")
    assert why in told


def test_other_machines_have_lines_of_their_own(tmp_path: Path) -> None:
    made(tmp_path / "1", 1, 0.40)
    made(tmp_path / "2", 2, 0.41)
    told = {"commit": "2", "platform": "Linux", "device": "a GPU"}
    (tmp_path / "2" / "environment.json").write_text(json.dumps(told))
    found = ledger.record(tmp_path / "ledger.csv", ledger.lines(rows_in(tmp_path)))
    assert {(line["device"], line["seeds"]) for line in found} == {("cpu", "1"), ("a GPU", "2")}


def test_a_row_that_changed_replaces_what_other_machines_had_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, notes = tmp_path / "ledger.csv", list[str]()
    for seed, em, device in ((1, "old", "a GPU"), (2, "new", "cpu"), (3, "old", "other")):
        made(tmp_path / em / str(seed), seed, 0.4, em=em)
        told = {"commit": "2", "platform": "Linux", "device": device}
        (tmp_path / em / str(seed) / "environment.json").write_text(json.dumps(told))
    old, new, late = (
        ledger.lines(rows_in(tmp_path / place)) for place in ("old/1", "new/2", "old/3")
    )
    ledger.record(path, old)
    monkeypatch.setattr(ledger, "digest_now", lambda line, home: new[0]["options"])
    ledger.record(path, new, notes.append)
    assert [line["device"] for line in ledger.read(path)] == ["cpu"]
    assert notes == ["lasem/cifar100_ours: what Linux had is of the row as it was before"]
    assert ledger.record(path, late, notes.append) == []
    assert [line["device"] for line in ledger.read(path)] == ["cpu"]


def test_a_published_figure_has_the_digits_that_were_printed() -> None:
    published = {"final_accuracy": ["59.0", None], "forgetting": ["0.100", "0.00"]}
    line = ledger.described("forgetting", published, {}, {}, 1)
    assert (line["published"], line["published_deviation"]) == ("10.0", "0")
    line = ledger.described("final_accuracy", published, {}, {}, 1)
    assert line["published"] == "59.0"
    assert ledger.rounding(line["published"], line["published_deviation"]) == 0.05


def test_a_run_that_went_on_elsewhere_names_both(tmp_path: Path) -> None:
    made(tmp_path / "1", 1, 0.40)
    told = {"commit": "2" * 40 + "+", "platform": "Linux", "device": "cpu"}
    before = [{"commit": c * 40, "platform": "Linux", "device": "a GPU"} for c in "12"]
    (tmp_path / "1" / "environment.json").write_text(json.dumps(told | {"before": before}))
    (line,) = ledger.record(tmp_path / "ledger.csv", ledger.lines(rows_in(tmp_path)))
    commits = f"{'1' * 12} {'2' * 12} {'2' * 12}+"
    wanted = ("a GPU, cpu", "Linux", commits)
    assert tuple(line[name] for name in ("device", "machine", "commit")) == wanted


def test_a_run_on_the_cpu_of_a_machine_with_a_gpu_is_of_the_cpu(tmp_path: Path) -> None:
    """Runs of 0.2 noted the GPU that was there."""
    made(tmp_path / "1", 1, 0.40)
    told = {"commit": "2", "platform": "Linux", "device": "a GPU"}
    (tmp_path / "1" / "environment.json").write_text(json.dumps(told))
    added(tmp_path / "1", "trainer: {accelerator: cpu}\n")
    (line,) = ledger.record(tmp_path / "ledger.csv", ledger.lines(rows_in(tmp_path)))
    assert line["device"] == "cpu"


def test_of_two_versions_of_a_row_the_later_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(tmp_path / "new", 1, 0.40, em="new")
    made(tmp_path / "old", 2, 0.30, em="old")
    os.utime(tmp_path / "old" / "results.json", (1, 1))
    new = ledger.lines(rows_in(tmp_path))
    monkeypatch.setattr(ledger, "digest_now", lambda line, home: new[-1]["options"])
    found = ledger.record(tmp_path / "ledger.csv", new)
    assert [line["seeds"] for line in found] == ["1"]


def test_rows_that_are_alike_and_runs_of_none_stay_apart(tmp_path: Path) -> None:
    """Whichever seed is the first; and a comparison has no figure where there are two."""
    made(tmp_path / "a2", 2, 0.40)
    made(tmp_path / "b3", 3, 0.41)
    path = tmp_path / "b3" / "config.yaml"
    text = path.read_text().replace("cifar100_ours", "cifar100_twin")
    path.write_text(text.replace("[39.3, 0.1]", "[50, 5]"))
    for seed in (1, 5):
        run(tmp_path / f"plain{seed}", "ours", seed, 0.2)
    known = rows_in(tmp_path)
    found = ledger.record(tmp_path / "ledger.csv", ledger.lines(known))
    assert [(line["row"][-4:], line["seeds"], line["published"]) for line in found] == [
        ("ours", "2", "39.3"), ("twin", "3", "50")
    ]  # fmt: skip
    assert [line["seed"] for line in curves.curves(known)] == ["2", "3"]
    (group,) = groups_in(tmp_path)
    assert (len(group.runs), group.published) == (4, {})
    (same,) = groups_in(tmp_path / "plain1", tmp_path / "a2")
    assert same.published == {"peak_accuracy": [39.3, 0.1]}


def test_two_machines_have_a_line_each_of_the_same_seeds(tmp_path: Path) -> None:
    for machine, final in (("one", 0.40), ("two", 0.41)):
        made(tmp_path / machine, 1, final)
        told = {"commit": "1", "platform": machine, "device": "cpu"}
        (tmp_path / machine / "environment.json").write_text(json.dumps(told))
    found = ledger.lines(rows_in(tmp_path))
    assert sorted((line["machine"], line["values"]) for line in found) == [
        ("one", "40"), ("two", "41")
    ]  # fmt: skip


def test_what_is_measured_on_validation_images_is_not_judged(tmp_path: Path) -> None:
    made(tmp_path / "1", 1, 0.40, measured_on="validation")
    added(tmp_path / "1", "changed: [measure_on=validation]\n")
    (line,) = ledger.lines(rows_in(tmp_path))
    assert (line["verdict"], line["published"], line["extent"]) == ("unpublished", "", "reduced")


def test_damaged_runs_are_named_and_others_taken_in(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, name in enumerate(("good", "place", "begun", "short"), 1):
        made(tmp_path / name, number, 0.40, status="finished" if number < 3 else "running")
    (tmp_path / "place" / "environment.json").write_text("{")
    (tmp_path / "begun" / "config.yaml").write_text("{")
    config = tmp_path / "short" / "config.yaml"
    config.write_text(config.read_text().replace("epochs: 3\n", ""))
    assert reproduce.main([f"from={tmp_path}", f"ledger={tmp_path / 'ledger.csv'}"]) == 0
    assert [line["seeds"] for line in ledger.read(tmp_path / "ledger.csv")] == ["1"]
    out = capsys.readouterr().out
    assert all(f"{tmp_path / name}" in out for name in ("place", "begun", "short"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", ""),
        ("\ufeff" + ",".join(ledger.COLUMNS) + "\n", ""),
        ("row,\n".encode("utf-16"), "is no table of commas in UTF-8"),
        ("x" * 200_000, "is no table of commas in UTF-8"),
        ("a,b\n1,2\n", "another table"),
    ],
    ids=["empty", "mark", "utf-16", "long", "other"],
)
def test_files_that_are_no_ledger(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "ledger.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) if message else nullcontext():
        assert ledger.read(path) == []


def test_a_line_that_is_there_twice_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    for seed in (1, 2, 3):
        made(tmp_path / str(seed), seed, 0.40 + seed / 100)
    (first,), (other,), (more,) = (
        ledger.lines(rows_in(tmp_path / str(seed))) for seed in (1, 2, 3)
    )
    ledger.write(path, [first, other])  # as two ledgers are put together
    (line,) = ledger.record(path, [more])
    assert (line["seeds"], line["values"]) == ("1,2,3", "41 42 43")
    ledger.write(path, [first, other | {"options": "another"}])
    with pytest.raises(ValueError, match="has lasem/cifar100_ours twice, with other options"):
        ledger.record(path, [more])


def test_a_row_without_published_figures_has_its_accuracy_there(tmp_path: Path) -> None:
    run(tmp_path / "1", "theirs", 1, 0.30)
    added(tmp_path / "1", "choices: {experiment: digits/class_er}\n")
    (line,) = ledger.record(tmp_path / "ledger.csv", ledger.lines(rows_in(tmp_path)))
    wanted = ("final_accuracy", "30", "", "", "unpublished")
    names = ("metric", "ours", "published", "tolerance", "verdict")
    assert tuple(line[name] for name in names) == wanted
    assert ledger.told(line) == "digits/class_er: final % 30 (1 seed), nothing is published"


def test_a_run_that_is_begun_says_what_a_whole_one_takes(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    made(tmp_path / "begun", 1, 0.40, status="running")
    saved = Checkpoint(2, False, {}, {"seconds": {"train": 15.0}}, epoch=1, of=4)
    saved.save(tmp_path / "begun", "latest")  # the first of four visits, and an epoch of three
    found = begun(read([tmp_path / "begun"])[1], {})
    (line,) = ledger.record(path, found)
    assert (line["extent"], line["seconds"], line["seeds"]) == ("begun", "45", "")
    assert (line["published"], line["ours"], line["verdict"]) == ("39.3", "", "")
    assert line["command"] == "lifelong reproduce lasem/cifar100_ours"
    assert ledger.told(line).endswith("begun; a run takes about 45 s of training")
    made(tmp_path / "done", 1, 0.40)
    (after,) = ledger.record(path, ledger.lines(rows_in(tmp_path / "done")))
    assert after["options"] == line["options"]
    assert after["extent"] == "full"
    assert ledger.record(path, found) == [after]  # what is finished stays


@pytest.mark.parametrize("ways", [{"of": 0}, {"epoch": 0, "of": 4, "visit": 1}])
def test_of_some_runs_nothing_can_be_said(tmp_path: Path, ways: dict[str, int]) -> None:
    made(tmp_path / "begun", 1, 0.40, status="running")
    saved = {"visit": 2, "epoch": 1} | ways
    Checkpoint(finished=False, strategy={}, record={"seconds": {"train": 9.0}}, **saved).save(  # type: ignore[arg-type]
        tmp_path / "begun", "latest"
    )
    assert not begun(read([tmp_path / "begun"])[1], {})


def test_finished_runs_are_taken_in_by_the_command(tmp_path: Path, capsys: Any) -> None:
    made(tmp_path / "runs" / "1", 1, 0.40)
    path = tmp_path / "made" / "ledger.csv"
    assert reproduce.main([f"from={tmp_path / 'runs'}", f"ledger={path}"]) == 0
    out = capsys.readouterr().out
    assert "published 39.3 +- 0.1: outside (0.7 for at most " in out
    assert out.endswith(f"written: {path}\n")
    assert len(ledger.read(path)) == 1


def test_calls_at_once_take_turns_at_a_ledger(tmp_path: Path) -> None:
    """Each reads, adds and writes: none of the lines is lost."""
    call = "import sys; from lifelong.sweeps.reproduce import main; sys.exit(main(sys.argv[1:]))"
    calls = []
    for seed in range(1, 4):
        made(tmp_path / str(seed), seed, 0.40)
        given = [f"from={tmp_path / str(seed)}", f"ledger={tmp_path / 'ledger.csv'}"]
        calls.append(subprocess.Popen([sys.executable, "-c", call, *given]))
    assert [each.wait() for each in calls] == [0, 0, 0]
    (line,) = ledger.read(tmp_path / "ledger.csv")
    assert line["seeds"] == "1,2,3"
    assert {path.name for path in tmp_path.iterdir()} == {
        "1", "2", "3", "curves.csv", "ledger.csv"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "error: ROW: give one or more"),
        (["lasem/cifar100_lasem_hps", "from=."], "error: lasem/cifar100_lasem_hps: has no effect"),
        (["from=none"], "error: none: "),
        (["from=.", "seeds=1,2"], "error: seeds=1,2: has no effect beside from="),
        (["from=.", "epochs=3"], "error: epochs=3: has no effect beside from="),
        (["lasem/cifar100_lasem_hps", "ledger=other.csv"], "error: ledger=other.csv: another"),
    ],
)
def test_mistakes(
    given: list[str], message: str, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("other.csv").write_text("a,b\n1,2\n")
    assert reproduce.main(given) == 2
    assert capsys.readouterr().err.startswith(message)
    run(tmp_path / "runs", "theirs", 1, 0.3)
    assert reproduce.main(["from=runs"]) == 2
    assert "runs: holds no run of a row" in capsys.readouterr().err


RESULTS = Path(__file__).parents[2] / "results"
LEDGER, CURVES = ledger.read(RESULTS / "ledger.csv"), curves.read(RESULTS / curves.NAME)


RUNS: dict[str, list[ledger.Line]] = {}  # lines of the same runs
for line in LEDGER:
    RUNS.setdefault(f"{line['row']} {line['changed']}", []).append(line)


@pytest.mark.parametrize("lines", RUNS.values(), ids=RUNS)
def test_the_ledger_is_of_rows_as_they_are(lines: list[ledger.Line]) -> None:
    """Its commands compose, its figures are the published ones, its verdicts follow from them."""
    first = lines[0]
    assert first["row"] in members("experiment")
    config = configured(f"experiment={first['row']}", *shlex.split(first["changed"]))
    figures = {} if config.published is None else OmegaConf.to_container(config.published)
    OmegaConf.set_struct(config, False)
    complete(config)
    options = digest(options_of(as_dict(config)))
    for line in lines:
        assert line["metric"] in ledger.figures(figures)  # type: ignore[arg-type]
        published = published_of(figures, line["metric"])  # type: ignore[arg-type]
        told = ledger.published_cells(published)
        assert {key: line[key] for key in told} == told
        assert ledger.judged(line, ledger.values_of(line)) == line
        assert options == line["options"]


@pytest.mark.parametrize("line", CURVES, ids=lambda line: f"{line['row']} {line['changed']}")
def test_the_curves_are_of_the_ledger_s_runs(line: ledger.Line) -> None:
    """Their last point is the final accuracy that the ledger has; LASEM's rows have the peak."""
    same_run = [
        other for other in LEDGER
        if other["row"] == line["row"] and other["changed"] == line["changed"]
        and line["seed"] in other["seeds"].split(",")
    ]  # fmt: skip
    final = [other for other in same_run if other["metric"] == "final_accuracy"]
    if same_run and not final:
        assert {other["metric"] for other in same_run} <= {"peak_accuracy", "forgetting_ratio"}
        return
    same = [ledger.values_of(other)[int(line["seed"])] for other in final]
    assert float(line["seen"].split()[-1]) in [pytest.approx(value, abs=0.06) for value in same]
