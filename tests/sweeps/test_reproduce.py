"""Rows of a paper's tables, run over seeds and compared."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lifelong.comparison import compare, curves, ledger
from lifelong.configuration.members import members
from lifelong.sweeps import reproduce
from lifelong.sweeps.jobs import Job
from tests.comparison.finished_runs import added, run

ROWS = ["tag/cifar100_er", "tag/cifar100_sgd"]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """What would be run, by row, seed and other overrides; each run is finished at once."""
    found: list[Any] = []

    def run_jobs(next_job: Any, ended: Any, cores: int, until: float) -> int:
        while (job := next_job(until - time.monotonic())) is not None:
            found.append((job.row, job.seed, job.overrides))
            status = finish(job)
            if not ended(job, status):
                return status
        return 0

    monkeypatch.setattr(reproduce, "run_jobs", run_jobs)
    monkeypatch.chdir(tmp_path)
    return found


REFUSED = [2]  # exit status of what is refused


@pytest.fixture
def refused() -> Iterator[list[int]]:
    """The exit status of what is refused; 2 again after the test."""
    yield REFUSED
    REFUSED[:] = [2]


def finish(job: Job) -> int:
    """The run as it would leave its folder; `sgd` is refused, and `ewc` fails."""
    if job.row.endswith("sgd"):
        return REFUSED[0]
    if job.row.endswith("ewc"):
        return 1
    run(job.folder, "ours", job.seed, 0.40 + job.seed / 100)
    added(job.folder, f"choices: {{experiment: {job.row}}}\nchanged: []\n")
    told = {"commit": "1" * 40, "platform": "Linux", "device": "cpu"}
    (job.folder / "environment.json").write_text(json.dumps(told))
    return 0


def test_each_row_is_run_over_seeds_and_all_are_compared(
    asked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    monkeypatch.setattr(compare, "main", lambda words: told.append(words) or 0)
    assert reproduce.main([ROWS[0], "out=here", "seeds=1,2", "epochs=3"]) == 0
    assert asked == [(ROWS[0], 1, ("epochs=3",)), (ROWS[0], 2, ("epochs=3",))]
    assert told == [[f"here/{ROWS[0]}", "out=here", "against=paper"]]
    (line,) = ledger.read(Path("here/ledger.csv"))
    assert (line["seeds"], line["values"]) == ("1,2", "41 42")
    drawn = curves.read(Path("here/curves.csv"))
    assert [(line["seed"], line["seen"], line["learned"]) for line in drawn] == [
        ("1", "41 41", "41 41"), ("2", "42 42", "42 42")
    ]  # fmt: skip
    assert reproduce.main([ROWS[0], "out=here", "seeds=1,2,3", "epochs=3"]) == 0
    assert asked[2:] == [(ROWS[0], 3, ("epochs=3",))]  # the others are there
    assert ledger.read(Path("here/ledger.csv"))[0]["seeds"] == "1,2,3"


@pytest.mark.parametrize(("seeds", "times"), [("1", 1), ("1,2", 3)])
def test_the_verdict_of_one_run_is_told_once_of_several_as_they_end(
    asked: list[Any], seeds: str, times: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert reproduce.main(["field/cifar10_er", f"seeds={seeds}"]) == 0
    assert capsys.readouterr().out.count("field/cifar10_er: peak") == times


def test_rows_by_pattern(asked: list[Any]) -> None:
    assert reproduce.main(["field/cifar10_*", "seeds=3"]) == 0
    assert [row for row, _, _ in asked] == ["field/cifar10_er", "field/cifar10_er_ace"]


def test_a_run_that_the_clock_stops_before_it_began_is_no_mistake(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(next_job: Any, ended: Any, cores: int, until: float) -> int:
        job = next_job(1.0)
        job.folder.mkdir(parents=True)
        return int(not ended(job, None))

    monkeypatch.setattr(reproduce, "run_jobs", stopped)
    assert reproduce.main([ROWS[0], "hours=0.1"]) == 0
    assert not Path("outputs/reproduced/ledger.csv").exists()


def test_a_row_that_fails_is_passed_over_and_told_at_the_end(asked: list[Any]) -> None:
    fails = "tag/cifar100_ewc"
    assert reproduce.main([fails, ROWS[0], "seeds=1,2"]) == 1
    assert [(row, seed) for row, seed, _ in asked] == [(fails, 1), (ROWS[0], 1), (ROWS[0], 2)]
    assert [line["seeds"] for line in ledger.read(Path("outputs/reproduced/ledger.csv"))] == ["1,2"]
    assert reproduce.main(["--todo", fails, "hours=1"]) == 1


def test_where_images_are_missing_a_stream_is_passed_over(
    asked: list[Any], refused: list[int]
) -> None:
    assert reproduce.main([ROWS[1], ROWS[0], "field/cifar10_er"]) == 0
    assert [row for row, _, _ in asked] == [ROWS[1], ROWS[0], "field/cifar10_er"]
    del asked[:]
    refused[:] = [3]
    assert reproduce.main([ROWS[1], ROWS[0], "field/cifar10_er", "out=more"]) == 0
    assert [row for row, _, _ in asked] == [ROWS[1], "field/cifar10_er"]
    assert reproduce.main([ROWS[1], "out=other"]) == 2
    assert reproduce.main(["--todo", ROWS[1], "hours=1", "out=other"]) == 2


def test_a_run_that_another_command_works_on_is_left_to_it(
    asked: list[Any], refused: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    refused[:] = [4]
    begun = Path(f"outputs/reproduced/{ROWS[1]}/seed=1")
    begun.mkdir(parents=True)
    begun.joinpath("config.yaml").write_text("seed: 1\n")
    assert reproduce.main([ROWS[1], ROWS[0], "seeds=1,2"]) == 0
    assert [row for row, _, _ in asked] == [ROWS[1], ROWS[1], ROWS[0], ROWS[0]]
    out = capsys.readouterr().out
    assert f"{ROWS[1]}, seed 1: another command is at work on it, passed over" in out
    assert "remove" not in out


def test_the_folder_of_ones_home(asked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path.cwd() / "home"))
    assert reproduce.main([ROWS[0], "out=~/rep"]) == 0
    assert ledger.read(Path("home/rep/ledger.csv"))[0]["seeds"] == "1"
    assert compare.main(["~/rep", "out=~/made"]) == 0
    assert Path("home/made/comparison.csv").exists()
    assert not Path("~").exists()


def test_a_run_that_left_nothing_is_no_success(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "run", lambda *given: given[0].mkdir(parents=True))
    monkeypatch.setitem(globals(), "added", lambda *given: None)
    assert reproduce.main([ROWS[0]]) == 1


def test_what_cannot_be_read_or_written_is_told_before_the_first_run(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine_curves.csv").write_text("a,b\n1,2\n")
    assert reproduce.main([ROWS[0], "ledger=mine.csv"]) == 2
    assert "mine_curves.csv: another table" in capsys.readouterr().err
    for place in ("/proc/none/x.csv", "/sys/x.csv"):  # no such folder, no permission
        assert reproduce.main([ROWS[0], f"ledger={place}"]) == 2
    assert not asked
    assert reproduce.main(["--todo", ROWS[0], "ledger=new/x.csv"]) == 0
    assert not Path("new").exists()


def test_what_the_clock_leaves_is_told(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped(next_job: Any, ended: Any, cores: int, until: float) -> int:
        return int(not ended(next_job(1.0), None))

    monkeypatch.setattr(reproduce, "run_jobs", stopped)
    assert reproduce.main([*ROWS, "seeds=1,2", "hours=0.1"]) == 0
    assert "the time is up, 4 runs left; the same command goes on" in capsys.readouterr().out


def test_a_row_of_ones_own(
    asked: list[Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = Path("mine/experiment/deep")
    own.mkdir(parents=True)
    own.joinpath("er.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /data: digits\n  - _self_\nepochs: 1\n"
        "published: {final_accuracy: [90.0, 1.0]}\n"
    )
    assert reproduce.main(["deep/er"]) == 2
    assert "config_dir=DIR has those of one's own" in capsys.readouterr().err
    given = ["deep/er", "config_dir=mine", "seeds=1,2", "data.order_seed=3"]
    assert reproduce.main([*given, "out=before"]) == 2  # the runs are not of what is there now
    assert "left out, since it is of the row as it was before" in capsys.readouterr().out
    del asked[:]
    with monkeypatch.context() as patched:
        patched.setattr(ledger, "digest_now", lambda line, home: line["options"])
        assert reproduce.main(given) == 0
    assert asked == [("deep/er", seed, ("data.order_seed=3",)) for seed in (1, 2)]
    [line] = ledger.read(Path("outputs/reproduced/ledger.csv"))
    assert (line["row"], line["seeds"]) == ("deep/er", "1,2")
    own.joinpath("child.yaml").write_text("# @package _global_\ndefaults: [deep/er, _self_]\n")
    own.joinpath("broken.yaml").write_text("{")
    capsys.readouterr()
    assert reproduce.main(["--todo", "deep/*", "config_dir=mine", "out=other"]) == 0
    told = capsys.readouterr().out
    assert "deep/broken: of it nothing is published" in told
    assert [line.split()[0] for line in told.splitlines()[-3:-1]] == ["deep/child", "deep/er"]
    assert reproduce.main(["deep/er", "config_dir=nowhere"]) == 2
    assert ledger.digest_now(line | {"changed": ""}) is None
    assert ledger.digest_now(line | {"changed": ""}, "mine") is not None


def test_where_a_begun_run_is_refused_its_seed_alone_is_passed_over(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as one of another version, whose checkpoints do not fit: its images are there."""
    begun = Path(f"outputs/reproduced/{ROWS[1]}/seed=1")
    begun.mkdir(parents=True)
    begun.joinpath("config.yaml").write_text("seed: 1\n")
    assert reproduce.main([ROWS[1], ROWS[0]]) == 1
    assert [row for row, _, _ in asked] == [ROWS[1], ROWS[0]]
    assert f"{ROWS[1]}, seed 1: refused, passed over; to begin it anew" in capsys.readouterr().out


def test_todo_lists_and_runs_what_the_ledger_does_not_have(
    asked: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--todo", *ROWS, "field/cifar10_er", "ledger=mine.csv", "seeds=1,2"]
    assert reproduce.main(given) == 0
    assert not asked
    assert capsys.readouterr().out.count(" 1,2 ") == 3
    assert reproduce.main([*given, "hours=1"]) == 0
    rows = [(row, seed) for row, seed, _ in asked]
    assert rows[0][0] in ROWS
    assert (ROWS[1], 2) not in rows  # it was refused, and its stream's other row
    assert {("field/cifar10_er", 1), ("field/cifar10_er", 2)} <= set(rows)
    assert f"{ROWS[1]}: refused, passed over" in capsys.readouterr().out
    left = reproduce.main([*given])
    assert left == 0
    assert "field/cifar10_er" not in capsys.readouterr().out


def test_all_published_rows_can_be_left_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    """And a configuration that is no row of a page never is."""
    assert reproduce.main(["--todo"]) == 0
    told = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:-1]]
    assert set(told) <= set(members("experiment"))
    assert "tag/cub_er" in told
    assert reproduce.main(["--todo", "lasem_short"]) == 0
    said, _, end = capsys.readouterr().out.splitlines()
    assert said.startswith("lasem_short: of it nothing is published; lifelong reproduce")
    assert end.startswith("0 rows; ")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["nowhere"], "error: nowhere: there is no such row; lifelong list experiments"),
        (["nowhere/*"], "error: nowhere/*: there is no such row"),
        ([ROWS[0], "seeds="], "error: seeds=: "),
        ([ROWS[0], "seeds=1,a"], "error: seeds=1,a: give whole numbers"),
        ([ROWS[0], "hours=soon"], "error: hours=soon: give a number of hours above 0"),
        ([ROWS[0], "hours=0"], "error: hours=0: give a number of hours above 0"),
        ([ROWS[0], "cores=0"], "error: cores=0: "),
        ([ROWS[0], "seed=2"], "error: seed=2: the seeds of a row follow from its seed; give"),
        ([ROWS[0], "data.seed=2"], "error: data.seed=2: the seeds of a row follow"),
        ([ROWS[0], "experiment=a"], "error: experiment=a: give the name of the row"),
        ([ROWS[0], "paths.output_dir=a"], "error: paths.output_dir=a: give out="),
    ],
)
def test_mistakes(given: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert reproduce.main(given) == 2
    assert capsys.readouterr().err.startswith(message)
    assert reproduce.main(["--help"]) == 0
    assert "lifelong reproduce tag/cifar100_er seeds=1,2,3" in capsys.readouterr().out
