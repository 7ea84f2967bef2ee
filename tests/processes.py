"""`python -m lifelong.run` in a process of its own, without ten seconds of imports.

The process is forked from a server that has imported what every run imports.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import runpy
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parent.parent
FILE_LIMIT = "TESTS_FILE_LIMIT"  # bytes that a file may have, where this is in the environment
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        "lifelong.training.assembly",
        "lifelong.report.page",
        "lifelong.training.loggers",
        "sklearn.datasets",
    ]
)


class Command:
    """The command line in a folder, with the handles of `subprocess.Popen` that tests need.

    Args:
        folder: current directory of the process.
        *arguments: of the command line.
        session: make it the leader of a process group, which can be killed as a whole.
        module: whose command line it is.
        **environment: variables beside ours.
    """

    def __init__(
        self, folder: Path, *arguments: str, session: bool = False, module: str = "lifelong.run",
        **environment: str,
    ) -> None:  # fmt: skip
        self._outputs = []
        for _ in ("stdout", "stderr"):
            number, path = tempfile.mkstemp()
            os.close(number)
            self._outputs.append(Path(path))
        given = {**_environment(), **environment}
        names = [str(path) for path in self._outputs]
        self._process = _CONTEXT.Process(
            target=_run, args=(str(folder), arguments, given, session, names, module)
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def communicate(self, timeout: float = 300) -> tuple[str, str]:
        """What it printed to stdout and stderr, when it has ended."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.send_signal(signal.SIGKILL)
            raise TimeoutError(f"still running after {timeout} s")
        out, errors = (path.read_text() for path in self._outputs)
        for path in self._outputs:
            path.unlink()
        return out, errors


def fresh(folder: Path, *arguments: str, session: bool = False) -> subprocess.Popen[str]:
    """The command line in a process that imports all by itself; for what starts others, too."""
    return subprocess.Popen(
        [sys.executable, "-m", "lifelong.run", *arguments],
        cwd=folder, env=_environment(), start_new_session=session,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _environment() -> dict[str, str]:
    """Without W&B's service, which a run in this process may have left."""
    given = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}
    return {**given, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def _run(
    folder: str, arguments: tuple[str, ...], environment: dict[str, str], session: bool,
    outputs: list[str], module: str,
) -> None:  # fmt: skip
    if session:
        os.setsid()
    for number, path in enumerate(outputs, 1):
        descriptor = os.open(path, os.O_WRONLY)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = open(os.devnull)  # noqa: PTH123, SIM115
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1) for number in (1, 2))
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever the tests were begun with
    torch.set_num_threads(1)
    os.chdir(folder)
    sys.path.insert(0, folder)
    if FILE_LIMIT in environment:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(environment[FILE_LIMIT]),) * 2)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
