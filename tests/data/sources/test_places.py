"""Where the files of a data set are looked for, and what is said when they are nowhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lifelong.data.sources.places import Place, find
from lifelong.data.sources.source import Source


def read(path: Path) -> Source:
    """Two images of the value that the file holds."""
    value = np.full((2, 1, 2, 2), int(path.read_text()), np.uint8)
    return Source("toy", value, np.arange(2), value, np.arange(2), ("a", "b"), str(path))


PLACES = [Place("first.txt", "one", read), Place("second.txt", "two", read)]


def found(folder: Path, **options: object) -> int:
    source = find("toy", folder, PLACES, address="https://toy", **options)  # type: ignore[arg-type]
    return int(source.train_images[0, 0, 0, 0])


def test_the_first_place_that_is_there_serves_and_then_its_copy(tmp_path: Path) -> None:
    (tmp_path / "second.txt").write_text("2")
    assert found(tmp_path) == 2
    (tmp_path / "first.txt").write_text("1")
    assert found(tmp_path) == 1
    (tmp_path / "first.txt").unlink()
    (tmp_path / "second.txt").unlink()
    assert found(tmp_path) == 1  # the copy of the first place


def test_what_is_nowhere_is_fetched_or_said_to_be_missing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    looked = f"Looked for {data}/first.txt, {data}/second.txt. .* is at https://toy"
    with pytest.raises(ValueError, match=rf"^toy: no images in paths.data_dir={data}\. {looked}"):
        found(data)

    def fails(folder: Path) -> None:
        folder.mkdir()
        raise OSError("no route\nto host")

    with pytest.raises(ValueError, match=rf"the download failed \(no route\)\. {looked}"):
        found(data, fetch=fails)
    assert not data.exists()  # which the download had made
    with pytest.raises(ValueError, match=f"after the download. {looked}"):
        found(data, fetch=lambda folder: None)

    def fetches(folder: Path) -> None:
        folder.mkdir()
        (folder / "second.txt").write_text("5")

    assert found(data, fetch=fetches) == 5
    assert found(data, fetch=fails) == 5  # it is there now
