"""Streams of data sets one after the other, and of one data set altered (TAG spec, 9.13)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException

from lifelong.data import Images, folders, permuted, rotated, sequence
from lifelong.data.sources import Source
from lifelong.errors import Missing
from tests.data.plain_files import tasks_of, write_folder
from tests.data.small_files import (
    drawn,
    stream_of,
    write_cifar10,
    write_mnist,
    write_notmnist,
    write_svhn,
)


def test_five_datasets(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "cifar-10-batches-py", 30)
    write_mnist(tmp_path / "MNIST" / "raw", packed=True, count=100)
    write_mnist(tmp_path / "FashionMNIST" / "raw", packed=False, count=80)
    write_svhn(tmp_path, 90)
    write_notmnist(tmp_path / "notMNIST_small", 10)
    stream = stream_of("five_datasets", tmp_path)
    names = ["cifar10", "mnist", "svhn", "notmnist", "fashion_mnist"]
    assert [visit.task.name for visit in stream] == names
    assert [visit.task.classes for visit in stream] == [
        tuple(range(k, k + 10)) for k in range(0, 50, 10)
    ]
    assert [len(visit.train) for visit in stream] == [150, 100, 90, 90, 80]
    for visit in stream:
        stream.serve(visit)
        assert len(stream.train_dataloader()) == -(-len(visit.train) // 64)  # the last part is kept
        batch = next(iter(stream.train_dataloader()))
        assert batch.x.shape == (64, 3, 32, 32)
        assert batch.x.min() >= 0
        assert batch.x.max() <= 1
    grey = stream.tasks[1].test[torch.arange(3)].x
    assert torch.equal(grey[:, 0], grey[:, 2])
    assert stream.checksum() != stream_of("five_datasets", tmp_path, "data.fraction=0.9").checksum()


def test_a_missing_data_set_of_a_sequence_is_named(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "cifar-10-batches-py", 30)
    with pytest.raises(InstantiationException, match=r"mnist: no images .*train-images-idx3"):
        stream_of("five_datasets", tmp_path)


def test_data_sets_are_taken_by_name(tmp_path: Path) -> None:
    write_mnist(tmp_path / "MNIST" / "raw", packed=True, count=100)
    write_cifar10(tmp_path / "cifar-10-batches-py", 30)
    stream = stream_of("five_datasets", tmp_path, "data.names=[mnist,digits,cifar10]")
    assert [task.name for task in stream.tasks] == ["mnist", "digits", "cifar10"]
    with pytest.raises(InstantiationException, match="no data set is called svhm; give svhn"):
        stream_of("five_datasets", tmp_path, "data.names=[mnist,svhm]")
    with pytest.raises(InstantiationException, match="give each data set once"):
        stream_of("five_datasets", tmp_path, "data.names=[mnist,mnist]")
    with pytest.raises(InstantiationException, match="give at least one"):
        stream_of("five_datasets", tmp_path, "data.names=[]")


def square(count: int = 30) -> Source:
    """Images of 8 x 8 whose left upper corner is bright."""
    images = drawn(count, 1, 8, 8) // 4
    images[:, :, 0, 0] = 255
    labels = np.arange(count) % 10
    return Source("square", images, labels, images[:10], labels[:10], tuple("0123456789"), "here")


OPTIONS: dict[str, Any] = {
    "name": "toy",
    "batch_size": 5,
    "shuffle_seed": 0,
    "shape": (1, 8, 8),
    "fraction": 1.0,
    "validation": 0.0,
    "standardize": "none",
    "seed": 0,
}


def pixels(images: Images) -> torch.Tensor:
    return images[torch.arange(len(images))].x


def test_rotated_counter_clockwise_and_with_classes_of_their_own() -> None:
    stream = rotated(square(), tasks=4, **OPTIONS)
    for turns, visit in enumerate(stream):
        plain = pixels(stream.tasks[0].train)
        assert torch.equal(pixels(visit.train), torch.rot90(plain, turns, (2, 3)))
        assert visit.task.classes == tuple(range(10 * turns, 10 * turns + 10))
    assert pixels(stream.tasks[1].test)[0, 0, 7, 0] == 1  # the bright corner went down


def test_angles() -> None:
    def names(**options: Any) -> list[str]:
        return [visit.task.name for visit in rotated(square(), **(OPTIONS | options))]

    assert names(tasks=10) == [f"{angle} degrees" for angle in range(0, 300, 30)]
    assert names(tasks=2, angles=[5, 50]) == ["5 degrees", "50 degrees"]
    released = [float(name.split()[0]) for name in names(tasks=10, fidelity="authors")]
    assert all(30 * (k - 1) - 1 <= angle <= 30 * k + 1 for k, angle in enumerate(released))
    assert released != [float(angle) for angle in range(0, 300, 30)]
    assert names(tasks=10, fidelity="authors", design_seed=1) != names(tasks=10, fidelity="authors")


def test_permuted_keeps_the_pixels_and_the_first_task() -> None:
    stream = permuted(square(), tasks=3, **OPTIONS)
    first, second, third = (pixels(visit.train) for visit in stream)
    torch.testing.assert_close(first, torch.from_numpy(square().train_images).float() / 255)
    assert not torch.equal(second, third)
    assert torch.equal(first.flatten(1).sort(1).values, second.flatten(1).sort(1).values)
    again = permuted(square(), tasks=3, **OPTIONS)
    assert torch.equal(second, pixels(again.tasks[1].train))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (rotated, {"tasks": 0}, "data.tasks=0"),
        (rotated, {"tasks": 3, "angles": [1.0]}, r"data.angles=\[1.0\]: give 3 angles"),
        (permuted, {"tasks": 2, "fraction": 0.0}, "data.fraction=0.0"),
        (rotated, {"tasks": 2, "shape": (8, 8)}, r"data.shape=.8, 8.: give .channels, height"),
        (permuted, {"tasks": 2, "shape": (8, 8)}, r"data.shape=.8, 8.: give .channels, height"),
        (permuted, {"tasks": 2, "validation": 1.0}, "data.validation=1.0"),
        (permuted, {"tasks": 2, "standardize": "odd"}, "data.standardize=odd"),
        (permuted, {"tasks": 2, "repeat": 0}, "data.repeat=0"),
    ],
)
def test_refusals(make: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(square(), **(OPTIONS | options))


def test_a_sequence_refuses_no_data_sets_and_other_channels() -> None:
    with pytest.raises(ValueError, match="give at least one"):
        sequence([], **OPTIONS)
    images, labels = drawn(30, 3, 8, 8), np.arange(30) % 10
    colour = Source("square", images, labels, images, labels, tuple("0123456789"), "here")
    with pytest.raises(ValueError, match=r"the images of square have 3 channels"):
        sequence([colour], **OPTIONS)


def test_the_stream_repeated_and_measured_on_validation_images() -> None:
    stream = permuted(square(), tasks=3, **(OPTIONS | {"validation": 0.2, "repeat": 2, "limit": 2}))
    assert [visit.task.index for visit in stream] == [0, 1, 0, 1]
    assert [visit.is_last for visit in stream] == [False, False, False, True]
    stream.measure_on_validation()
    for task in [*(visit.task for visit in stream), *stream.tasks]:
        assert task.test is task.val
    with pytest.raises(ValueError, match=r"measure_on=validation: order 1 has no validation"):
        permuted(square(), tasks=2, **OPTIONS).measure_on_validation()


def test_folders_one_after_the_other(tmp_path: Path) -> None:
    write_folder(tmp_path / "birds", 3)
    write_folder(tmp_path / "elsewhere" / "scenes", 2)
    made = tasks_of(
        tmp_path, "folders", f"data.roots=[birds,{tmp_path}/elsewhere/scenes]",
        "data.shape=[3,16,16]", "data.validation=0",
    )  # fmt: skip
    assert [task.name for task in made.tasks] == ["birds", "scenes"]
    assert [task.classes for task in made.tasks] == [(0, 1, 2), (3, 4)]
    assert made.tasks[1].class_names == ("class 0", "class 1")
    assert [len(task.train) for task in made.tasks] == [18, 12]
    assert [len(task.test) for task in made.tasks] == [9, 6]
    with pytest.raises(Missing, match=r"data\.roots=nothing: no such folder"):
        folders(
            ["nothing"], data_dir=str(tmp_path), shape=[3, 16, 16], fraction=1.0, validation=0.0,
            standardize="none", seed=0, name="x", batch_size=1,
        )  # fmt: skip
