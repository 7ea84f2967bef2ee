"""Disks that fill up: one line, nothing half written, and later as if there had been room."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import execute, results_of
from tests.faults.conftest import Tally
from tests.faults.test_kills import leftovers
from tests.processes import FILE_LIMIT, Command
from tests.test_contract import FAST

pytestmark = pytest.mark.faults
RUN = [*FAST, "tasks=3", "epochs=3", "checkpoint_every=1", "strategy=ewc", "resume=auto"]
SIZES = 24  # of disks on which a run is tried


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[int], dict[str, str]]]:
    """Makes `tmp_path / "disk"` one of so many KiB; gives the environment for commands on it.

    Where no disk can be mounted, no file may be larger than half of that.
    """
    place = tmp_path / "disk"
    place.mkdir()

    def sized(kibibytes: int) -> dict[str, str]:
        option = "remount," if place.is_mount() else ""
        mount = ["mount", "-t", "tmpfs", "-o", f"{option}size={kibibytes}k", "tmpfs", str(place)]
        if subprocess.run(mount, capture_output=True, check=False).returncode == 0:
            return {}
        return {FILE_LIMIT: str(512 * kibibytes)}

    yield sized
    if place.is_mount():
        subprocess.run(["umount", "-l", str(place)], check=True)


def failed_for_room(process: Command, lines: int | None = 1) -> bool:
    """Whether a command failed for want of room, and said so; it fails for nothing else.

    Args:
        process: of the command.
        lines: that it says; None where it may fail for several things at once.
    """
    _, errors = process.communicate()
    assert "Traceback" not in errors
    assert process.returncode in (0, 1, 2), errors
    if process.returncode:
        assert lines is None or errors.count("\n") == lines, errors
        assert "No space left on device" in errors or "File too large" in errors, errors
    return process.returncode != 0


def test_a_run_on_a_disk_that_fills_up(
    tmp_path: Path, disk: Callable[[int], dict[str, str]], tally: Tally
) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "disk" / "run"
    assert execute(whole, *RUN) == 0
    needed = sum(path.stat().st_size for path in whole.rglob("*") if path.is_file()) // 1024
    draw, failed = random.Random(0), 0
    for _ in range(SIZES):
        given = disk(draw.randrange(8, needed + 50))
        command = [*RUN, f"paths.output_dir={folder}"]
        failed += failed_for_room(Command(tmp_path, *command, **given))
        left = [name for name in leftovers(folder) if name != "partial.ckpt"]
        disk(4 * needed)
        _, errors = (done := Command(tmp_path, *command)).communicate()
        assert done.returncode == 0, errors
        assert results_of(folder) == results_of(whole)
        tally("full")
        tally("leftovers", 1, bool(left))
        assert not left
        shutil.rmtree(folder)
    assert failed > SIZES / 3


@pytest.mark.parametrize(
    "command",
    ["lifelong.export RUN DISK/out", "lifelong.compare RUN out=DISK/out", "lifelong.run sweep"],
)
def test_other_commands_on_a_disk_that_fills_up(
    command: str, tmp_path: Path, disk: Callable[[int], dict[str, str]], tally: Tally
) -> None:
    run, place = tmp_path / "run", tmp_path / "disk"
    assert execute(run, *FAST, "tasks=2", "epochs=1", "strategy=mas") == 0
    draw, failed = random.Random(command), 0
    for number in range(8):
        given = disk(draw.randrange(4, 120) if number else 4)
        module, *rest = command.split()
        arguments = [a.replace("RUN", str(run)).replace("DISK", str(place)) for a in rest]
        if rest == ["sweep"]:
            arguments = ["-m", *FAST, "tasks=2", "epochs=1", "strategy=finetune", "seed=1,2"]
            arguments += [f"paths.output_dir={place / 'out'}"]
        process = Command(tmp_path, *arguments, module=module, **given)
        fails = failed_for_room(process, lines=None)
        failed += fails
        left = leftovers(place)
        if "export" in module and fails:
            left += [path.name for path in place.iterdir()]
        tally("full")
        tally("leftovers", 1, bool(left))
        assert not left
        disk(1 << 16)
        for path in place.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert failed


def test_a_full_cache_is_no_need(
    tmp_path: Path, disk: Callable[[int], dict[str, str]], tally: Tally
) -> None:
    from tests.faults.test_malformed import OWN, small_tree

    small_tree(tmp_path / "images", random.Random(0), classes=4)
    given = disk(4)
    (tmp_path / "disk" / "data").mkdir()
    command = [*OWN, f"data.root={tmp_path / 'images'}", "paths.output_dir=out"]
    command += [f"paths.data_dir={tmp_path / 'disk' / 'data'}"]
    process = Command(tmp_path, *command, **given)
    _, errors = process.communicate()
    tally("full", 1, process.returncode != 0)
    assert (process.returncode, errors) == (0, "")
    assert not leftovers(tmp_path / "disk")
