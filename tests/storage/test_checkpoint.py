from pathlib import Path

import pytest

from lifelong.storage.checkpoint import PARTIAL, Checkpoint, latest, remove_leftovers


def save(folder: Path, visit: int, finished: bool = True, keep: str = "latest") -> None:
    Checkpoint(visit, finished, {"visit": visit}, {}).save(folder, keep)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_latest_two_of_more_than_a_hundred(tmp_path: Path) -> None:
    for visit in (98, 99, 100):
        save(tmp_path, visit)
    assert names(tmp_path) == ["visit_100.ckpt", "visit_99.ckpt"]
    found, _ = latest(tmp_path)
    assert found is not None
    assert found.visit == 100


def test_all_are_kept_on_request(tmp_path: Path) -> None:
    for visit in range(4):
        save(tmp_path, visit, keep="all")
    assert len(names(tmp_path)) == 4


def test_the_one_that_is_furthest_on(tmp_path: Path) -> None:
    assert latest(tmp_path) == (None, [])
    save(tmp_path, 0)
    save(tmp_path, 1, finished=False)
    found, _ = latest(tmp_path)
    assert found is not None
    assert (found.visit, found.finished) == (1, False)
    save(tmp_path, 1)
    assert PARTIAL not in names(tmp_path)


def test_leftovers_of_a_kill_are_removed(tmp_path: Path) -> None:
    save(tmp_path, 1, finished=False)
    save(tmp_path, 0, finished=False)
    (tmp_path / ".visit_01.ckpt.77.tmp").write_text("half")
    (tmp_path / ".draft.tmp").write_text("a person's own")
    remove_leftovers(tmp_path, latest(tmp_path)[0])
    assert names(tmp_path) == [".draft.tmp", PARTIAL]
    (tmp_path / ".draft.tmp").unlink()
    save(tmp_path, 1)
    (tmp_path / PARTIAL).write_text("old")
    remove_leftovers(tmp_path, Checkpoint(0, True, {}, {}))
    assert names(tmp_path) == ["visit_01.ckpt"]


def test_a_foreign_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "visit_01.ckpt").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match=r"visit_01\.ckpt: not a checkpoint of a run"):
        latest(tmp_path)


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
@pytest.mark.parametrize("newest", ["visit_02.ckpt", PARTIAL])
def test_a_damaged_one_is_told_and_the_one_before_serves(
    tmp_path: Path, damage: bytes | None, newest: str
) -> None:
    """Empty, foreign, or cut in the middle."""
    save(tmp_path, 1)
    save(tmp_path, 2, finished=newest != PARTIAL)
    path = tmp_path / newest
    path.write_bytes(path.read_bytes()[:500] if damage is None else damage)
    found, wrong = latest(tmp_path)
    assert found is not None
    assert found.visit == 1
    assert len(wrong) == 1
    assert newest in wrong[0]


def test_files_of_like_names_are_no_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "task_list.ckpt").write_text("my tasks")
    save(tmp_path, 0)
    assert latest(tmp_path)[0] is not None
    assert (tmp_path / "task_list.ckpt").read_text() == "my tasks"
