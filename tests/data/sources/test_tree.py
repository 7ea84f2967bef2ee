"""What a person's folder of images holds beside images."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.data.sources.trees import read, tree


@pytest.mark.parametrize(
    ("closed", "read_all"),
    [("lost+found", True), ("System Volume Information", True), (".Trash-0", True), ("b", False)],
)
def test_folders_that_a_system_keeps_to_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str, read_all: bool
) -> None:
    """At the root of a disk some folders are closed to all but the system."""
    root, scan = tree(tmp_path / "mine"), os.scandir
    place = root / "train" / closed
    place.mkdir(exist_ok=True)

    def scandir(path: Any) -> Any:
        if str(path) == str(place):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    if read_all:
        assert len(read(root, tmp_path).train_labels) == 12
    else:
        with pytest.raises(ValueError, match=r"train/b: cannot be read \(Permission denied\)"):
            read(root, tmp_path)


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    tree(tmp_path / "store")
    root = tmp_path / "mine"
    root.mkdir()
    for part in ("train", "test"):
        (root / part).symlink_to(tmp_path / "store" / part)
    (tmp_path / "store" / "train" / "a" / "again").symlink_to(tmp_path / "store")
    assert len(read(root, tmp_path).train_labels) == 12


def test_one_letter_in_two_spellings_is_one_class(tmp_path: Path) -> None:
    """As macOS writes it in one part and Linux in the other."""
    tree(tmp_path / "mine", ("caf\u00e9",), ("train",))
    tree(tmp_path / "mine", ("cafe\u0301",), ("test",))
    assert read(tmp_path / "mine", tmp_path).classes == ("caf\u00e9",)
