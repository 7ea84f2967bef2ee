"""MNIST and its like on small files in the official layouts."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lifelong.data.sources import fashion_mnist, image_folder, mnist, notmnist
from tests.data.plain_files import plain, tasks_of
from tests.data.small_files import drawn, encoded, write, write_mnist, write_notmnist


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("place", ["MNIST/raw", "MNIST", "mnist"])
def test_mnist_from_its_official_files(tmp_path: Path, packed: bool, place: str) -> None:
    arrays = write_mnist(tmp_path / place, packed)
    source = mnist(tmp_path, download=False)
    assert np.array_equal(source.train_images[:, 0], arrays["train-images-idx3"])
    assert np.array_equal(source.test_images[:, 0], arrays["t10k-images-idx3"])
    assert source.test_labels.tolist() == arrays["t10k-labels-idx1"].tolist()
    assert source.classes == tuple("0123456789")


def test_fashion_mnist_from_an_image_folder(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for label in range(10):
            write(
                tmp_path / "fashion_mnist_images" / part / str(label) / "0001.png",
                encoded(drawn(28, 28, seed=label)),
            )
    source = fashion_mnist(tmp_path, download=False)
    assert np.array_equal(source.train_images[3, 0], drawn(28, 28, seed=3))
    assert source.test_labels.tolist() == list(range(10))


def test_damaged_idx_files(tmp_path: Path) -> None:
    write_mnist(tmp_path / "MNIST", packed=True)
    images = tmp_path / "MNIST" / "t10k-images-idx3-ubyte.gz"
    whole = images.read_bytes()
    for content in (b"no archive", gzip.compress(b"no idx file"), whole[:-100]):
        images.write_bytes(content)
        with pytest.raises(ValueError, match=r"t10k-images.*: not a readable file.*fetch it again"):
            mnist(tmp_path, download=False)
    images.unlink()
    with pytest.raises(ValueError, match=r"t10k-images-idx3-ubyte.gz is missing"):
        mnist(tmp_path, download=False)


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_notmnist_skips_what_cannot_be_read(tmp_path: Path, form: str) -> None:
    write_notmnist(tmp_path / "notMNIST_small")
    if form == "archive":
        with tarfile.open(tmp_path / "notMNIST_small.tar.gz", "w:gz") as archive:
            archive.add(tmp_path / "notMNIST_small", "notMNIST_small")
    source = notmnist(tmp_path)
    assert (len(source.train_labels), len(source.test_labels)) == (36, 4)
    assert source.classes == tuple("ABCDEFGHIJ")
    both = np.concatenate([source.train_labels, source.test_labels])
    assert np.bincount(both).tolist() == [4] * 10


def test_a_folder_of_the_users_is_not_taken_for_a_data_set(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for label in "ab":
            write(tmp_path / "mine" / "mnist" / part / label / "1.png", encoded(drawn(28, 28)))
    image_folder(tmp_path / "mine" / "mnist", shape=(1, 28, 28), cache=tmp_path)
    with pytest.raises(ValueError, match="mnist: no images in"):
        mnist(tmp_path, download=False)


@pytest.mark.parametrize(
    ("options", "size", "std"),
    [
        ([], 28, 0.3081),
        (["augment=pad", "data.standardize=padded_mnist"], 32, 0.2752),
    ],
)
def test_split_mnist(tmp_path: Path, options: list[str], size: int, std: float) -> None:
    for part, count in (("train", 3), ("test", 2)):
        for digit in range(10):
            for number in range(count):
                path = tmp_path / "mnist" / part / str(digit) / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(plain(20 * digit, (28, 28), "L"))
    made = tasks_of(tmp_path, "split_mnist", *options)
    assert [task.classes for task in made.tasks] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    x = made.tasks[1].test[torch.arange(4)].x
    assert x.shape == (4, 1, size, size)
    ends = x[0].max() - x[3].max()  # of a 2 and a 3
    torch.testing.assert_close(ends, torch.tensor(-20 / 255 / std))
