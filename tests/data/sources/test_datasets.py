"""Data sets of PyTorch's kind, and torchvision's by their names."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch.utils.data import TensorDataset
from torchvision.datasets.utils import verify_str_arg

from lifelong.data.sources import from_arrays, materialize, mnist, torchvision_set
from tests.conftest import execute, results_of

DRAW = np.random.default_rng(1)
PIXELS = DRAW.integers(0, 256, (20, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(20) % 4


class Pictures:
    """Images of PIL's with names of classes."""

    classes = ("ant", "bee", "cat", "dog")

    def __init__(self, label: Any = int) -> None:
        self.label = label

    def __len__(self) -> int:
        return len(PIXELS)

    def __getitem__(self, index: int) -> Any:
        return Image.fromarray(PIXELS[index]), self.label(LABELS[index])


def test_pictures_and_tensors_are_read_as_arrays_are() -> None:
    wanted = from_arrays((PIXELS, LABELS))
    of_pictures = materialize(Pictures(), shape=(3, 6, 5))
    assert of_pictures.classes == ("ant", "bee", "cat", "dog")
    x, y = torch.from_numpy(PIXELS).permute(0, 3, 1, 2) / 255, torch.tensor(LABELS)
    tensors = TensorDataset(x, y)
    for source in (of_pictures, materialize(tensors, shape=(3, 6, 5))):
        assert np.array_equal(source.train_images, wanted.train_images)
        assert np.array_equal(source.test_images, wanted.test_images)
        assert np.array_equal(source.train_labels, wanted.train_labels)
    grey = materialize(Pictures(), Pictures(), shape=(1, 3, 3))
    assert grey.shape == (1, 3, 3)
    assert len(grey.test_labels) == 20


def test_pictures_are_seen_as_files_are() -> None:
    """Of 16 bits, transparent, turned."""
    deep = Image.fromarray((np.arange(256).reshape(16, 16) * 257).astype(np.uint16))
    source = materialize([(deep, 0), (deep, 1)] * 5, shape=(1, 16, 16))
    assert np.array_equal(source.train_images[0, 0], np.arange(256).reshape(16, 16))
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    source = materialize([(clear, 0), (clear, 1)] * 5, shape=(3, 4, 4))
    assert (source.train_images == 255).all()


def test_items_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the label of image 0 is no class but \(2,\)"):
        materialize(Pictures(lambda label: [label, label]), shape=(3, 6, 5))
    with pytest.raises(ValueError, match="item 0 is no pair"):
        materialize([np.zeros((6, 5))], shape=(1, 6, 5))


def write_idx(path: Path, array: np.ndarray[Any, Any]) -> None:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A folder with files in the form of MNIST."""
    folder = tmp_path / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, count in (("train", 60), ("t10k", 20)):
        labels = np.arange(count) % 10
        images = DRAW.integers(0, 256, (count, 28, 28)) // 4 + 19 * labels[:, None, None]
        write_idx(folder / f"{part}-images-idx3-ubyte", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels)
    return tmp_path


def test_a_set_of_torchvision_is_that_of_ours(digits: Path) -> None:
    ours = mnist(digits, download=False)
    theirs = torchvision_set("MNIST", shape=(1, 28, 28), data_dir=digits, download=False)
    assert np.array_equal(ours.train_images, theirs.train_images)
    assert np.array_equal(ours.test_labels, theirs.test_labels)
    assert theirs.classes[3] == "3 - three"


def test_a_run_on_a_set_of_torchvision(digits: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["data=torchvision", "data.shape=[1,28,28]", "tasks=1", "epochs=2", "batch_size=4"]
    options += ["backbone=mlp", "strategy=finetune", "logger=none", "download=false", "heads=multi"]
    options += [f"paths.data_dir={digits}", "optimizer=adam"]
    assert execute(digits / "run", *options, "data.name=MNIST") == 0, capsys.readouterr().err
    assert results_of(digits / "run")["data"] == "torchvision"
    for name, message in (
        ("MNITS", "data.name=MNITS: torchvision has no such data set; give MNIST or"),
        ("FakeData", "torchvision has no such data set"),
        ("CIFAR10", "data.name=CIFAR10: no images in paths.data_dir"),
    ):
        assert execute(digits / "other", *options, f"data.name={name}") == (
            3 if "no images" in message else 2
        )
        assert message in capsys.readouterr().err


class Parted(torchvision.datasets.VisionDataset):
    """A data set of three splits, as most of the newer ones are."""

    def __init__(self, root: str, split: str = "train", words: str = "") -> None:
        super().__init__(root)
        self.count = {"train": 12, "val": 4, "test": 8}[
            verify_str_arg(split, "split", ("train", "val", "test"))
        ]
        self.words = words

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return Image.fromarray(PIXELS[index]), index % 2


def test_splits_are_found_by_their_usual_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torchvision.datasets, "Parted", Parted, raising=False)
    source = torchvision_set("Parted", shape=(3, 6, 5), data_dir=tmp_path)
    counts = len(source.train_labels), len(source.val_labels), len(source.test_labels)
    assert counts == (12, 4, 8)
    whole = torchvision_set(
        "Parted", shape=(3, 6, 5), data_dir=tmp_path, options={"split": "train"}, test=0.25
    )
    assert (len(whole.train_labels), len(whole.test_labels)) == (10, 2)


class TwoSplits(Parted):
    """A data set of two splits, of which the second is the only one to test on."""

    def __init__(self, root: str, split: str = "train") -> None:
        super().__init__(root, verify_str_arg(split, "split", ("train", "val")))


class Halves(torchvision.datasets.VisionDataset):
    """A data set of two halves."""

    def __init__(self, root: str, train: bool = True) -> None:
        super().__init__(root)
        self.count = 12 if train else 4

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return Image.fromarray(PIXELS[index]), index % 2


class Letters(Halves):
    """As EMNIST: `split` is no part, and `train` goes to its base."""

    def __init__(self, root: str, split: str, **options: Any) -> None:
        verify_str_arg(split, "split", ("letters", "digits"))
        super().__init__(root, **options)


def test_no_split_is_two_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test images would else be validation images, too."""
    monkeypatch.setattr(torchvision.datasets, "TwoSplits", TwoSplits, raising=False)
    source = torchvision_set("TwoSplits", shape=(3, 6, 5), data_dir=tmp_path)
    assert len(source.test_labels) == 4
    assert not source.has_validation


def test_options_that_a_class_hands_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision.datasets, "Letters", Letters, raising=False)
    source = torchvision_set(
        "Letters", shape=(3, 6, 5), data_dir=tmp_path, options={"split": "letters"}
    )
    assert (len(source.train_labels), len(source.test_labels)) == (12, 4)
    for options, message in (({}, "split"), ({"split": "letters", "splt": 1}, "splt")):
        with pytest.raises(ValueError, match=f"data.name=Letters: .*{message}.* give data.source"):
            torchvision_set("Letters", shape=(3, 6, 5), data_dir=tmp_path, options=options)
