from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lifelong.data import folder
from lifelong.data.sources import image_folder


def write(path: Path, grey: int, size: tuple[int, int] = (8, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (grey, grey, 0)).save(path)


def tree(root: Path, parts: tuple[str, ...] = ("train", "test"), images: int = 10) -> Path:
    """Four classes whose images have their class's colour."""
    for part in parts:
        for number in range(4):
            for row in range(images):
                write(root / part / f"class {number}" / f"{row:02d}.png", 50 * number + row)
    return root


def made(root: Path, **options: Any) -> Any:
    values = {"shape": [3, 8, 8], "name": "mine", "batch_size": 2, "tasks": 2} | options
    return folder(str(root), data_dir=str(root.parent), **values)


def test_parts_given(tmp_path: Path) -> None:
    source = image_folder(tree(tmp_path / "mine"), shape=(3, 8, 8), cache=tmp_path)
    assert source.classes == ("class 0", "class 1", "class 2", "class 3")
    assert len(source.train_images) == len(source.test_images) == 40
    assert np.array_equal(source.train_images[:, 0, 0, 0] // 50, source.train_labels)
    assert not source.train_images[:, 2].any()


def test_parts_divided_evenly(tmp_path: Path) -> None:
    source = image_folder(tree(tmp_path / "mine", ("",)), shape=(3, 8, 8), cache=tmp_path, test=0.2)
    assert np.bincount(source.train_labels).tolist() == [8] * 4
    assert np.bincount(source.test_labels).tolist() == [2] * 4


def test_grey_and_resized(tmp_path: Path) -> None:
    source = image_folder(tree(tmp_path / "mine"), shape=(1, 4, 6), cache=tmp_path)
    assert source.shape == (1, 4, 6)


def test_zip_with_a_folder_around(tmp_path: Path) -> None:
    root = tree(tmp_path / "mine")
    with zipfile.ZipFile(tmp_path / "mine.zip", "w") as archive:
        for path in root.rglob("*.png"):
            archive.write(path, path.relative_to(tmp_path))
    one = image_folder(root, shape=(3, 8, 8), cache=tmp_path)
    other = image_folder(tmp_path / "mine.zip", shape=(3, 8, 8), cache=tmp_path)
    assert np.array_equal(one.train_images, other.train_images)
    assert np.array_equal(one.test_labels, other.test_labels)


def test_a_changed_folder_is_read_anew(tmp_path: Path) -> None:
    root = tree(tmp_path / "mine")
    assert len(image_folder(root, shape=(3, 8, 8), cache=tmp_path).train_labels) == 40
    write(root / "train" / "class 3" / "more.png", 1)
    assert len(image_folder(root, shape=(3, 8, 8), cache=tmp_path).train_labels) == 41


def test_stream(tmp_path: Path) -> None:
    stream = made(tree(tmp_path / "mine"), validation=0.2, seed=3)
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3)]
    assert [len(stream.tasks[0].train), len(stream.tasks[0].val)] == [16, 4]
    shuffled = made(tmp_path / "mine", shuffle_classes=True, seed=3)
    assert sorted(label for task in shuffled.tasks for label in task.classes) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("prepare", "options", "message"),
    [
        (lambda root: None, {}, "no such folder or zip file"),
        (lambda root: root.mkdir(), {}, "holds no images"),
        (lambda root: write(root / "a.png", 1), {}, "found neither train"),
        (tree, {"tasks": 5}, "data.tasks=5: mine has 4 classes"),
        (lambda root: tree(root, ("",)), {"test": 1.5}, "data.test=1.5"),
        (lambda root: bad_image(tree(root)), {}, "is not a readable image"),
    ],
)
def test_refusals(tmp_path: Path, prepare: Any, options: dict[str, Any], message: str) -> None:
    root = tmp_path / "mine"
    prepare(root)
    with pytest.raises(ValueError, match=message):
        made(root, **options)


def bad_image(root: Path) -> None:
    (root / "train" / "class 0" / "00.png").write_bytes(b"no image")


def test_an_unreadable_zip(tmp_path: Path) -> None:
    path = tmp_path / "mine.zip"
    path.write_bytes(b"PK no zip")
    with pytest.raises(ValueError, match="not a readable zip file"):
        made(path)
