"""STL-10 from the official binary files (LASEM spec, check 15)."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lifelong.data.sources import stl10, stl10_unlabeled


def test_the_unlabeled_images_of_stl10(tmp_path: Path) -> None:
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (7, 3, 96, 96), np.uint8)
    (folder / "unlabeled_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())
    whole = stl10_unlabeled(tmp_path, size=96, download=False)
    assert np.array_equal(whole.train_images, images)
    small = stl10_unlabeled(tmp_path, download=False)
    assert small.train_images.shape == (7, 3, 32, 32)
    assert abs(small.train_images.mean() - images.mean()) < 1
    with tarfile.open(tmp_path / "stl10_binary.tar.gz", "w:gz") as archive:
        archive.add(folder, "stl10_binary")
    (folder / "unlabeled_X.bin").unlink()
    folder.rmdir()
    packed = stl10_unlabeled(tmp_path, download=False)
    assert np.array_equal(packed.train_images, small.train_images)
    with pytest.raises(ValueError, match="size=97: give the height of an image, 1 to 96"):
        stl10_unlabeled(tmp_path, size=97)
    other = tmp_path / "other" / "stl10_binary"
    other.mkdir(parents=True)
    with pytest.raises(ValueError, match=r"unlabeled_X\.bin.* is missing"):
        stl10_unlabeled(tmp_path / "other", download=False)
    (other / "unlabeled_X.bin").write_bytes(b"\x01" * 99)
    with pytest.raises(ValueError, match="ends within an image"):
        stl10_unlabeled(tmp_path / "other", download=False)


CLASSES = ["airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck"]


def write(folder: Path, train: int = 2, test: int = 1) -> dict[str, np.ndarray[Any, Any]]:
    """Small files in the official format: columns of a channel one after the other."""
    folder.mkdir(parents=True)
    arrays = {}
    for part, count in (("train", train), ("test", test)):
        images = np.random.default_rng(count).integers(0, 256, (10 * count, 3, 96, 96), np.uint8)
        labels = np.arange(10 * count) % 10
        (folder / f"{part}_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())
        (folder / f"{part}_y.bin").write_bytes((labels + 1).astype(np.uint8).tobytes())
        arrays[part] = images
    (folder / "class_names.txt").write_text("\n".join(CLASSES) + "\n")
    return arrays


def test_reads_folder_archive_and_copy(tmp_path: Path) -> None:
    arrays = write(tmp_path / "stl10_binary")
    source = stl10(tmp_path, download=False)
    assert np.array_equal(source.train_images, arrays["train"])
    assert np.array_equal(source.test_images, arrays["test"])
    assert source.train_labels.tolist() == [row % 10 for row in range(20)]
    assert source.classes == tuple(CLASSES)
    with tarfile.open(tmp_path / "stl10_binary.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "stl10_binary", "stl10_binary")
    for path in (tmp_path / "stl10_binary").iterdir():
        path.unlink()
    (tmp_path / "stl10_binary").rmdir()
    assert np.array_equal(stl10(tmp_path, download=False).train_images, arrays["train"])
    (tmp_path / "stl10_binary.tar.gz").unlink()
    assert np.array_equal(stl10(tmp_path, download=False).train_images, arrays["train"])


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"stl10: no images .*stl10_binary\.tar\.gz.*acoates"):
        stl10(tmp_path, download=False)
    write(tmp_path / "stl10_binary")
    (tmp_path / "stl10_binary" / "test_y.bin").unlink()
    with pytest.raises(ValueError, match=r"test_y\.bin.* is missing"):
        stl10(tmp_path, download=False)
    (tmp_path / "stl10_binary" / "test_y.bin").write_bytes(b"\x01" * 9)
    with pytest.raises(ValueError, match=r"10 test images but 9 labels"):
        stl10(tmp_path, download=False)
    (tmp_path / "stl10_binary" / "train_X.bin").write_bytes(b"\x01" * 9)
    with pytest.raises(ValueError, match=r"not a readable archive"):
        stl10(tmp_path, download=False)
    other = tmp_path / "other"
    other.mkdir()
    (other / "stl10_binary.tar.gz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"not a readable archive"):
        stl10(other, download=False)
