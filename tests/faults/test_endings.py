"""How commands end: one line and a status, whatever is scarce, lost, damaged or in the way."""

from __future__ import annotations

import errno
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong import errors, load_run
from lifelong.comparison import compare
from lifelong.finished import evaluate, export
from lifelong.report import page as report
from lifelong.storage import checkpoint
from lifelong.storage.files import replacing, save
from lifelong.storage.locks import held
from lifelong.sweeps.plan import check_folder, plan
from lifelong.sweeps.study import STUDY, study_in
from tests.conftest import execute, results_of
from tests.processes import ROOT, Command

pytestmark = pytest.mark.page
QUICK = ["strategy=finetune", "data=digits", "data.fraction=0.2", "tasks=2", "epochs=1"]
QUICK += ["batch_size=16", "logger=none", "trainer=cpu"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert execute(folder, *QUICK) == 0
    return folder


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ValueError("lr=0: give another"), "lr=0: give another"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a.ckpt"),
            "a.ckpt: No space left on device; free some space",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/x"),
            "/x: Permission denied; give another folder, or the permission",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file", "y"), "y: No such file"),
        (MemoryError(), "out of memory; give a smaller batch_size, memory or network"),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
            "CUDA out of memory (tried to allocate 2 GiB); give a smaller batch_size, memory or "
            "network",
        ),
        (RuntimeError("of\n two lines"), "RuntimeError: of two lines"),
    ],
)
def test_reasons_are_one_line(error: Exception, expected: str) -> None:
    assert errors.reason(error) == expected


def test_commands_tell_mistakes_and_faults_apart(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(errors.DEBUG, raising=False)

    def work(error: BaseException) -> int:
        raise error

    before = sys.stdout
    assert errors.command(lambda: 5) == 5
    assert errors.command(lambda: work(ValueError("x=1: give 2"))) == 2
    assert capsys.readouterr().err == "error: x=1: give 2\n"
    assert errors.command(lambda: work(KeyError("x"))) == 1
    assert capsys.readouterr().err == "failed: KeyError: 'x'; LIFELONG_FULL_ERROR=1 shows where\n"
    assert errors.command(lambda: work(KeyboardInterrupt())) == 130
    assert sys.stdout is before
    monkeypatch.setenv(errors.DEBUG, "1")
    with pytest.raises(KeyError):
        errors.command(lambda: work(KeyError("x")))


def test_a_closed_pipe_ends_the_printing_alone(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    script = "import sys; from lifelong.run import main; sys.argv[0] = 'run'; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, *QUICK, "paths.output_dir=run"], cwd=tmp_path, stdout=write,
        stderr=subprocess.PIPE, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
    assert results_of(tmp_path / "run")["status"] == "finished"
    assert (tmp_path / "run" / "report.html").exists()
    assert "final accuracy" in (tmp_path / "run" / "train.log").read_text()


def test_a_lost_terminal_is_an_end_in_order(tmp_path: Path) -> None:
    """HUP is handled as TERM; with nohup, which ignores it, the run goes on."""
    running = Command(tmp_path, *QUICK, "epochs=2000", "paths.output_dir=run")
    while not (tmp_path / "run" / "train.log").exists():
        assert running.poll() is None
        time.sleep(0.05)
    time.sleep(0.3)
    running.send_signal(signal.SIGHUP)
    stdout, _ = running.communicate()
    assert running.returncode == 128 + signal.SIGHUP
    assert "to go on: the same command with resume=auto paths.output_dir=run" in stdout


def test_a_full_disk_is_told_and_the_run_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The disk fills while the second task's checkpoint is written."""

    def full(path: Path, content: Any) -> None:
        if path.name == "visit_02.ckpt":
            with replacing(path) as temporary:
                temporary.write_bytes(b"half")
                raise OSError(errno.ENOSPC, "No space left on device")
        save(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", full)
        assert execute(tmp_path / "run", *QUICK) == 1
    path = tmp_path / "run" / "visit_02.ckpt"
    told = capsys.readouterr().err
    assert told.startswith(f"failed: {path}: No space left on device; free some space; to go on: ")
    assert told.count("\n") == 1
    assert not path.exists()
    assert not list((tmp_path / "run").glob(".*"))
    assert execute(tmp_path / "run", *QUICK, "resume=auto") == 0
    assert execute(tmp_path / "other", *QUICK) == 0
    assert results_of(tmp_path / "run")["accuracy"] == results_of(tmp_path / "other")["accuracy"]


def test_what_torch_says_of_a_full_disk_is_not_what_it_was(tmp_path: Path) -> None:
    script = (
        "import resource, sys, pathlib; from lifelong import errors\n"
        "from lifelong.storage.files import save; import torch\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9999, 9999))\n"
        "sys.exit(errors.command(lambda: save(pathlib.Path('x.ckpt'), torch.rand(9999))))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("error: x.ckpt: File too large")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("x" * 300, "has a name of more than 255 bytes"),
        ("é" * 150, "has a name of more than 255 bytes"),
        ("file/run", "is a file, or in one"),
    ],
)
def test_folders_that_cannot_be(
    folder: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert execute(tmp_path / folder, *QUICK) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: paths.output_dir=")
    assert message in told
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_finished_run_on_a_disk_that_cannot_be_written(
    whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = Path.open

    def closed(self: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
        if set(mode) & set("wax+"):
            raise OSError(errno.EROFS, "Read-only file system", str(self))
        return real(self, mode, *more, **options)

    monkeypatch.setattr(Path, "open", closed)
    assert execute(whole, *QUICK, "resume=auto") == 0
    assert "finished" in capsys.readouterr().out


READERS = {
    "load_run": lambda folder: load_run(folder) and 0,
    "evaluate": lambda folder: evaluate.main([f"run={folder}"]),
    "export": lambda folder: export.main([str(folder), str(folder / "out")]),
    "report": lambda folder: report.main([str(folder)]),
    "compare": lambda folder: compare.main([str(folder)]),
    "run": lambda folder: execute(folder, *QUICK, "resume=auto"),
}
DAMAGE = {
    "empty": b"",
    "half": None,
    "garbage": b"\x00\xff\xfe{]",
    "list": b"[1, 2]",
    "other": b'{"a": 1}\n',
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", ["results.json", "config.yaml"])
def test_damaged_files_are_refused_by_name_or_healed(
    name: str,
    damage: str,
    reader: str,
    whole: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if reader == "report" and name == "config.yaml":
        pytest.skip("a report shows it as it is")
    folder = tmp_path / "run"
    folder.mkdir()
    for path in whole.iterdir():
        if path.is_file():
            os.link(path, folder / path.name)
    content = DAMAGE[damage]
    new = (whole / name).read_bytes()[:200] if content is None else content
    (folder / name).unlink()
    (folder / name).write_bytes(new)
    capsys.readouterr()
    try:
        status = READERS[reader](folder)
        told = capsys.readouterr().err
    except ValueError as error:  # load_run's way
        status, told = 2, f"error: {error}\n"
    if reader == "run" and name == "results.json":
        assert status == 0  # made anew from the checkpoint
        assert json.loads((folder / name).read_text())["status"] == "finished"
        return
    assert status == 2
    assert told.startswith("error: ")
    assert name in told
    assert "Traceback" not in told
    assert (folder / name).read_bytes() == new
    assert not (folder / "out").exists()


def test_a_sweep_is_alone_in_its_folder(tmp_path: Path) -> None:
    with held(tmp_path / "sweep"):
        done = Command(tmp_path, "-m", *QUICK, "seed=1,2", "paths.output_dir=sweep")
        _, stderr = done.communicate()
    assert done.returncode == 4
    who = f"process {os.getpid()} on {platform.node()}"
    assert stderr == f"error: sweep: {who} is at work in it; wait for its end\n"
    assert not list((tmp_path / "sweep").iterdir())


@pytest.mark.parametrize("name", ["notes.txt", "photos/a.png", "results.json"])
def test_a_sweep_leaves_folders_of_others_alone(name: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    done = Command(tmp_path, "-m", *QUICK, "seed=1,2", "paths.output_dir=mine")
    _, stderr = done.communicate()
    assert done.returncode == 2
    first = name.partition("/")[0]
    assert stderr.startswith(f"error: paths.output_dir=mine: holds {first!r}, which is of no sweep")
    assert [path for path in (tmp_path / "mine").rglob("*") if path.is_file()] == [mine]


def test_what_sweeps_and_kills_leave_is_gone_on_with(tmp_path: Path) -> None:
    for name in ("multirun.yaml", "search.csv", "study.journal.lock", "comparison.md", ".running"):
        (tmp_path / name).touch()
    for name in ("failures/a.txt", "comparison_figures/a.png", "a/config.yaml", "b/.running"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "c").mkdir()
    check_folder(tmp_path)
    check_folder(tmp_path / "none")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["strategy=finetune,nope"], "strategy=nope: there is no such member"),
        (["lr=0.1,x"], "lr=x: give a learning rate above 0 (in the run "),
        (
            ["strategy=finetune,ewc", "strategy.strength=1,2"],
            "strategy.strength=1: is an option of strategy=",
        ),
        (["strategy=ewc", "strategy.strength=1,many"], "strategy.strength=many: give a number"),
        (["trainer.threads=1,0"], "trainer.threads=0: give auto or a whole number"),
    ],
)
def test_points_are_looked_at_before_the_first_run(
    overrides: list[str], message: str, tmp_path: Path
) -> None:
    done = Command(tmp_path, "-m", *QUICK, *overrides, "paths.output_dir=sweep")
    _, stderr = done.communicate()
    assert done.returncode == 2
    assert stderr.startswith(f"error: {message}")
    assert stderr.count("\n") == 1
    assert not (tmp_path / "sweep").exists()


def test_of_many_points_every_value_is_looked_at() -> None:
    many = ",".join(map(str, range(1, 41)))
    made = plan(["strategy=ewc,mas", f"seed={many}", "lr=0.1,0.2,0.3", "epochs=2"])
    assert made is not None
    assert made.total == 240
    assert len(made.points) == 40
    assert {point[0] for point in made.points} == {"strategy=ewc", "strategy=mas"}
    assert {point[1] for point in made.points} == {f"seed={n}" for n in range(1, 41)}
    assert {point[2] for point in made.points} == {"lr=0.1", "lr=0.2", "lr=0.3"}
    few = plan(["strategy=ewc,mas", "seed=1,2"])
    assert few is not None
    assert len(few.points) == few.total == 4


def test_counters_reach_their_total_when_runs_fail(tmp_path: Path) -> None:
    """Also when the same command tries them once more."""
    command = ["-m", *QUICK, "lr=0.1,1e30", "optimizer=sgd", "paths.output_dir=sweep"]
    for finished in ("1 runs finished, 1 failed", "1 runs finished (1 of them before), 1 failed"):
        done = Command(tmp_path, *command)
        stdout, stderr = done.communicate()
        assert done.returncode == 1
        assert stderr == "failed: the training loss became nan; try a smaller lr\n"
        assert "lr=1e+30: failed; 2 of 2 done" in stdout
        assert f"sweep in sweep: {finished}" in stdout
        assert "seconds: train" not in stdout  # tables are in the runs' folders


JOURNAL = b'{"op_code":0,"worker_id":"x","study_name":"search","directions":[2]}\n'


@pytest.mark.parametrize("tail", [b"", b'{"op_code":5,"wor', b"\x00\x00\x00"])
def test_a_half_written_study_is_healed(tail: bytes, tmp_path: Path) -> None:
    journal = tmp_path / STUDY
    journal.write_bytes(JOURNAL + tail)
    (tmp_path / f"{STUDY}.lock").symlink_to(journal)
    begun = time.monotonic()
    assert study_in(tmp_path).study_name == "search"
    assert time.monotonic() - begun < 10  # a lock of a killed process is not waited for
    assert journal.read_bytes().startswith(JOURNAL)
    assert all(json.loads(line) for line in journal.read_bytes().splitlines())


@pytest.mark.parametrize("line", [b"garbage\n", b"[]\n", b'{"op_code":5,"trial_id":77}\n', b"\n"])
def test_a_damaged_study_is_refused_by_name(line: bytes, tmp_path: Path) -> None:
    journal = tmp_path / STUDY
    journal.write_bytes(line + JOURNAL)
    with pytest.raises(ValueError, match=r"study\.journal: .*put the file away"):
        study_in(tmp_path)
    assert journal.read_bytes() == line + JOURNAL


def test_no_images_have_no_answers(whole: Path) -> None:
    run = load_run(whole)
    none = torch.zeros(0, *run.tasks[0].test.x.shape[1:])
    assert run.predict(none, 0).shape == (0,)
    assert run.scores(none, 0).shape == (0, 2)
    assert run.names(none, 0) == []
    assert run.predict_class(none).shape == (0,)
