"""Several processes for one run: on several devices, or several machines.

They are started by torchrun, by SLURM (also through `hydra/launcher=submitit_slurm`), or, where
neither did, by the run itself. All run the same program; the first one alone has the run's folder,
the others have copies of their own that nobody sees.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from lifelong.training import machine
from lifelong.training.console import QUIET

WAIT = timedelta(minutes=30)  # for each other; the first one may be preparing images
GOES_ON = (".yaml", ".json", ".ckpt", ".part", ".csv")  # files that a run goes on from
MINE = "LIFELONG_RANK"  # set in processes that a run started


@dataclass(frozen=True)
class Place:
    """Which of how many processes this one is.

    Attributes:
        rank: its number, from 0.
        local_rank: its number on its machine, from 0: that of its device.
        size: of all.
        address: of the first one, host and port.
    """

    rank: int = 0
    local_rank: int = 0
    size: int = 1
    address: tuple[str, int] = ("127.0.0.1", 0)


ALONE = Place()


def asked(config: DictConfig) -> int:
    """Processes that a configuration asks for.

    Raises:
        ValueError: no number of devices or machines.
    """
    total = 1
    for key in ("devices", "num_nodes"):
        value = config.trainer.get(key, 1)
        if (key, value) == ("devices", "auto"):
            value = (machine.device(config) == "GPU" and machine.gpus()) or 1
        or_auto = ", or auto for all GPUs" if key == "devices" else ""
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"trainer.{key}={value}: give a whole number, 1 or more{or_auto}")
        total *= value
    return total


def place(size: int) -> Place:
    """Where this process stands among `size` that torchrun or SLURM started; alone without them.

    Raises:
        ValueError: they started another number.
    """
    if size == 1:
        return Place()
    from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    started: Any = None
    if TorchElasticEnvironment.detect() or MINE in os.environ:
        started = TorchElasticEnvironment()
    elif SLURMEnvironment.detect():
        started = SLURMEnvironment()
    if started is None:
        return Place(size=size)
    found = started.world_size()
    if found != size:
        raise ValueError(
            f"trainer: {found} processes were started, and devices times num_nodes is {size}; "
            "start as many"
        )
    address = (started.main_address, started.main_port)
    return Place(started.global_rank(), started.local_rank(), size, address)


@contextmanager
def together(config: DictConfig, overrides: Sequence[str]) -> Iterator[Place]:
    """Within, the processes of a run know each other; a run that none started starts them.

    Args:
        config: of the run.
        overrides: as they were given, for the processes to start.

    Raises:
        ValueError: see `asked` and `place`.
    """
    size = asked(config)
    here = place(size)
    if size == 1:
        yield here
        return
    others: list[subprocess.Popen[bytes]] = []
    theirs = tempfile.mkdtemp(prefix="lifelong-")  # what ends them may leave them no time to tidy
    if not here.address[1]:
        if int(config.trainer.get("num_nodes", 1)) > 1:
            raise ValueError(
                f"trainer.num_nodes={config.trainer.num_nodes}: start the processes by torchrun, "
                "SLURM or hydra/launcher=submitit_slurm"
            )
        here = Place(0, 0, size, ("127.0.0.1", _free_port()))
        others = [_start(here, rank, overrides, theirs) for rank in range(1, size)]
    try:
        _meet(here)
        yield here
    finally:
        _part()
        for other in others:
            other.terminate()
        for other in others:
            other.wait()
        shutil.rmtree(theirs, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _start(
    here: Place, rank: int, overrides: Sequence[str], temporary: str
) -> subprocess.Popen[bytes]:
    """The same run in another process, which says nothing, with a place for what does not stay."""
    own = {
        "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": here.size, "MASTER_ADDR": here.address[0],
        "MASTER_PORT": here.address[1], MINE: rank, "TMPDIR": temporary,
    }  # fmt: skip
    environment = {**os.environ, **{name: str(value) for name, value in own.items()}}
    return subprocess.Popen(
        [sys.executable, "-m", "lifelong.run", *overrides],
        env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def _meet(here: Place) -> None:
    import torch
    import torch.distributed as dist

    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    host, port = here.address
    dist.init_process_group(
        backend, init_method=f"tcp://{host}:{port}", rank=here.rank, world_size=here.size,
        timeout=WAIT,
    )  # fmt: skip


def _part() -> None:
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


def wait() -> None:
    """For all processes to be here."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()


def told(value: Any) -> Any:
    """What the first process says, in all of them."""
    import torch.distributed as dist

    found = [value]
    dist.broadcast_object_list(found)
    return found[0]


@contextmanager
def copied(folder: Path) -> Iterator[Path]:
    """A copy of a run's folder for a process that is not the first; nothing stays of it."""
    with tempfile.TemporaryDirectory(prefix="lifelong-") as place:
        own = Path(place) / folder.name
        own.mkdir()
        for path in folder.iterdir() if folder.is_dir() else ():
            with suppress(FileNotFoundError):
                if path.is_file() and path.suffix in GOES_ON:
                    shutil.copy(path, own / path.name)
        before = os.environ.get(QUIET)
        os.environ[QUIET] = "1"
        try:
            yield own
        finally:
            if before is None:
                del os.environ[QUIET]
