"""Folders that one process has to itself, and what killed ones left in them."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from lifelong.storage.locks import LEFT, LOCK, absent, cleared, held, in_turn, remove_leftovers

NOBODY = 2**22 + 1  # above the largest number of a process


def test_a_folder_is_held_once_and_let_go(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "run"
    with held(folder):
        told = (folder / LOCK).read_text()
        assert told.startswith(f"process {os.getpid()} on ")
        with pytest.raises(ValueError, match=f"{folder}: {told} is at work in it"), held(folder):
            pass
    assert not (folder / LOCK).exists()
    with held(folder):
        pass


def test_whoever_waits_is_told_who_is_at_work(tmp_path: Path) -> None:
    """The lock that is waited for is let go in the meantime."""
    first = in_turn(tmp_path / "lock")
    first.__enter__()
    asked: list[str] = []

    def wait(who: str) -> None:
        asked.append(who)
        first.__exit__(None, None, None)

    with in_turn(tmp_path / "lock", wait):
        assert (tmp_path / "lock").exists()  # a file of its own: the first removed its own one
    assert [who.split()[1] for who in asked] == [str(os.getpid())]
    assert not (tmp_path / "lock").exists()


def test_one_that_waits_behind_several_is_told_once(tmp_path: Path) -> None:
    """Each in turn makes the lock file anew."""
    turns = [in_turn(tmp_path / "lock") for _ in range(2)]
    turns[0].__enter__()
    asked: list[str] = []

    def wait(who: str) -> None:
        asked.append(who)
        turns[0].__exit__(None, None, None)
        turns[1].__enter__()
        threading.Timer(0.2, turns[1].__exit__, (None, None, None)).start()

    with in_turn(tmp_path / "lock", wait):
        assert len(asked) == 1


def test_folders_that_are_not_there_go_with_what_was_refused(tmp_path: Path) -> None:
    new = absent(tmp_path / "a" / "b" / "c")
    assert new == [tmp_path / "a" / "b" / "c", tmp_path / "a" / "b", tmp_path / "a"]

    def refused() -> None:
        with cleared(new):
            new[0].mkdir(parents=True)
            (new[0] / "multirun.yaml").write_text("of Hydra")
            raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        refused()
    assert not (tmp_path / "a").exists()
    with cleared(new):
        new[0].mkdir(parents=True)
        (new[1] / "kept.txt").write_text("of somebody")
    assert not new[0].exists()
    assert (new[1] / "kept.txt").exists()


@pytest.mark.parametrize("alone", [False, True])
def test_leftovers_of_killed_processes_go(tmp_path: Path, alone: bool) -> None:
    """Those of processes that live stay, and young ones, where somebody else may write."""
    old = time.time() - LEFT - 60
    for name, moment in ((f".a.{NOBODY}.tmp", old), (f".b.{NOBODY}.tmp", None),
                         (f".c.{os.getpid()}.tmp", old), (".of mine.tmp", old)):  # fmt: skip
        (tmp_path / name).write_text("half")
        if moment is not None:
            os.utime(tmp_path / name, (moment, moment))
    (tmp_path / f".d.{NOBODY}.tmp").mkdir()
    os.utime(tmp_path / f".d.{NOBODY}.tmp", (old, old))
    remove_leftovers(tmp_path, alone)
    left = {path.name.split(".")[1] for path in tmp_path.iterdir()}
    assert left == ({"of mine"} if alone else {"b", "c", "of mine"})
