"""Runs of rows: how many at a time, until when, and what ends them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hydra._internal.utils import get_args_parser

from lifelong.sweeps import jobs
from lifelong.sweeps.jobs import Job, run_jobs

SLEEPS = "import time; time.sleep(60)"


class Script(Job):
    """A job of a program of its own: its row."""

    def command(self) -> list[str]:
        return [sys.executable, "-c", self.row]


def run(
    tmp_path: Path, programs: Sequence[str], stop: bool = False, seconds: float = 60, cores: int = 1
) -> tuple[int, list[tuple[str, int | None]]]:
    """Runs programs; gives the status, and which ended how."""
    waiting = [Script(text, 1, tmp_path) for text in programs]
    over: list[tuple[str, int | None]] = []

    def ended(job: Job, status: int | None) -> bool:
        over.append((job.row, status))
        return not (stop and status)

    until = time.monotonic() + seconds
    status = run_jobs(lambda left: waiting.pop(0) if waiting else None, ended, cores, until)
    return status, over


def test_a_job_is_a_run_that_goes_on_in_a_folder_of_its_own(tmp_path: Path) -> None:
    job = Job("tag/cifar100_er", 2, tmp_path, ("epochs=3", "logger=none", "paths.data_dir=/data"))
    assert job.folder == tmp_path / "tag/cifar100_er" / "seed=2_epochs=3"
    on_gpu = ("trainer=gpu", "trainer.cuda_graphs=true", "epochs=3")
    assert Job("tag/cifar100_er", 2, tmp_path, on_gpu).folder == job.folder  # it goes on there
    mixed = Job("tag/cifar100_er", 2, tmp_path, ("trainer=bf16",))
    assert mixed.folder.name == "seed=2_trainer=bf16"
    turned = [Job("a", 1, tmp_path, pair) for pair in (("b=1", "a=2"), ("a=2", "b=1"))]
    assert turned[0].folder == turned[1].folder  # in whatever order they are given
    assert job.command()[:3] == [sys.executable, "-m", "lifelong.run"]
    assert job.command()[3:] == [
        "experiment=tag/cifar100_er", "seed=2", f'paths.output_dir="{job.folder}"', "resume=auto",
        "checkpoint_every=10", "epochs=3", "logger=none", "paths.data_dir=/data",
    ]  # fmt: skip
    assert "checkpoint_every=10" not in Job("a", 1, tmp_path, ("checkpoint_every=2",)).command()
    own = Job("mine", 1, tmp_path, home="/my own").command()[3:]
    assert own[:2] == ["--config-dir=/my own", "experiment=mine"]
    assert get_args_parser().parse_args(own).config_dir == "/my own"
    assert not job.done
    job.folder.mkdir(parents=True)
    (job.folder / "results.json").write_text(json.dumps({"status": "finished"}))
    assert job.done


def test_one_after_the_other_or_several_at_a_time(tmp_path: Path) -> None:
    note = f"open({str(tmp_path / 'log')!r}, 'a').write("
    first = f"{note}'a'); import time; time.sleep(1); {note}'b')"
    assert run(tmp_path, [first, f"{note}'c')"]) == (0, [(first, 0), (f"{note}'c')", 0)])
    assert (tmp_path / "log").read_text() == "abc"
    (tmp_path / "log").unlink()
    assert len(run(tmp_path, [first, f"{note}'c')"], cores=2)[1]) == 2
    assert (tmp_path / "log").read_text() in ("acb", "cab")


def test_several_have_a_thread_each_and_do_not_talk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    told = "import os; p = os.environ; print(p.get('OMP_NUM_THREADS'), p.get('LIFELONG_QUIET')"
    text = f"{told}, file=open({str(tmp_path / 'log')!r}, 'w'))"
    for cores, wanted in ((2, "1 1\n"), (1, "None None\n")):
        run(tmp_path, [text], cores=cores)
        assert (tmp_path / "log").read_text() == wanted


def test_a_failure_ends_the_others_where_that_is_wanted(tmp_path: Path) -> None:
    fails = "import sys; sys.exit(5)"
    assert run(tmp_path, [fails, "pass"], stop=True) == (5, [(fails, 5)])
    assert run(tmp_path, [fails, "pass"]) == (0, [(fails, 5), ("pass", 0)])
    status, over = run(tmp_path, [fails, SLEEPS], stop=True, cores=2)
    assert (status, over[0]) == (5, (fails, 5))
    assert over[1][1] == 128 + 15


def test_what_kills_a_run_is_told_as_shells_tell_it(tmp_path: Path) -> None:
    killed = "import os; os.kill(os.getpid(), 9)"
    assert run(tmp_path, [killed], stop=True) == (137, [(killed, 137)])


def test_when_the_time_is_up_runs_are_stopped_and_none_begins(tmp_path: Path) -> None:
    begun = time.monotonic()
    assert run(tmp_path, [SLEEPS, SLEEPS], seconds=1) == (0, [(SLEEPS, None)])
    assert time.monotonic() - begun < 20


def test_whatever_ends_the_command_ends_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(seconds: float) -> None:
        raise KeyboardInterrupt

    started: list[jobs.subprocess.Popen[bytes]] = []
    popen = jobs.subprocess.Popen
    monkeypatch.setattr(jobs.time, "sleep", stopped)
    monkeypatch.setattr(
        jobs.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1]
    )
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, [SLEEPS])
    assert started[0].poll() == -15


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot say so")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)])
def test_runs_end_with_the_command(tmp_path: Path, number: int, status: int) -> None:
    """However it ends, and as a scheduler ends them."""
    told = tmp_path / "run"
    sleeps = f"import os; open({str(told)!r}, 'w').write(str(os.getpid())); {SLEEPS}"
    program = (
        "from tests.sweeps.test_jobs import run; from pathlib import Path;"
        f"run(Path({str(tmp_path)!r}), [{sleeps!r}])"
    )
    command = subprocess.Popen([sys.executable, "-c", program], cwd=Path(__file__).parents[2])
    wait_for(lambda: told.exists() and told.read_text() != "")
    command.send_signal(number)
    assert command.wait() == status
    wait_for(lambda: not alive(int(told.read_text())))


def wait_for(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def alive(process: int) -> bool:
    """A zombie, of which nobody has asked how it ended, is not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
