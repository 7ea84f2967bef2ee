"""Tiny ImageNet on small files in the official layout, and its streams (MAS spec, 1)."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from lifelong.data.sources import tiny_imagenet
from tests.data.plain_files import plain, tasks_of

WORDS = ["n03", "n01", "n04", "n02"]


def tiny_files() -> dict[str, bytes]:
    """Four classes; the red of an image is 50 times the rank of its class in wnids.txt."""
    files = {"wnids.txt": "\n".join(WORDS).encode(), "words.txt": b"", "test/images/t.JPEG": b"?"}
    lines = []
    for rank, word in enumerate(WORDS):
        for number in range(6):
            grey = "L" if number == 5 else "RGB"  # a few official images are grey
            files[f"train/{word}/images/{word}_{number}.JPEG"] = plain(50 * rank, mode=grey)
        for number in range(2):
            name = f"val_{2 * rank + number}.JPEG"
            files[f"val/images/{name}"] = plain(50 * rank)
            lines.append(f"{name}\t{word}\t0\t0\t63\t63")
    return files | {"val/val_annotations.txt": "\n".join(lines).encode()}


def write_tiny(folder: Path, packed: bool, files: dict[str, bytes]) -> None:
    if packed:
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(folder / "tiny-imagenet-200.zip", "w") as archive:
            for name, content in files.items():
                archive.writestr(f"tiny-imagenet-200/{name}", content)
        return
    for name, content in files.items():
        path = folder / "tiny-imagenet-200" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@pytest.mark.parametrize("packed", [False, True])
def test_tiny_imagenet(tmp_path: Path, packed: bool) -> None:
    write_tiny(tmp_path, packed, tiny_files())
    source = tiny_imagenet(tmp_path)
    assert source.classes == tuple(sorted(WORDS))
    assert source.train_images.shape == (24, 3, 64, 64)
    assert source.test_images.shape == (8, 3, 64, 64)
    for found, labels in (
        (source.train_images, source.train_labels),
        (source.test_images, source.test_labels),
    ):
        for image, label in zip(found, labels, strict=True):
            assert image[0, 0, 0] == 50 * WORDS.index(source.classes[label])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"val/images/val_0.JPEG": None}, "1 of the validation images are missing"),
        ({"wnids.txt": b"n01"}, "of the class n.., which wnids.txt lacks"),
        ({"val/val_annotations.txt": b"nothing"}, "is no table of images and classes"),
        ({"wnids.txt": None}, "is missing"),
        ({"train/n01/images/n01_0.JPEG": b"??"}, "n01_0.JPEG is not a readable image"),
    ],
)
def test_tiny_imagenet_damaged(tmp_path: Path, change: Any, message: str) -> None:
    files = {name: content for name, content in (tiny_files() | change).items() if content}
    write_tiny(tmp_path, True, files)
    with pytest.raises(ValueError, match=message):
        tiny_imagenet(tmp_path)


def test_tiny_imagenet_absent(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"Looked for .*tiny-imagenet-200\.zip"):
        tiny_imagenet(tmp_path)


def test_classes_of_the_tiny_streams(tmp_path: Path) -> None:
    """Drawn by class_seed alone; the half stream has the first of each task's classes."""
    write_tiny(tmp_path, True, tiny_files())
    two = ["data.tasks=2", "data.validation=0"]
    whole = tasks_of(tmp_path, "tiny_imagenet_4", *two, "data.classes_per_task=null", "seed=1")
    again = tasks_of(tmp_path, "tiny_imagenet_4", *two, "data.classes_per_task=null", "seed=2")
    half = tasks_of(tmp_path, "tiny_imagenet_4_half", *two, "data.classes_per_task=1")
    other = [
        tasks_of(tmp_path, "tiny_imagenet_4", *two, f"data.class_seed={seed}").tasks[0].classes
        for seed in range(1, 6)
    ]
    classes = [task.classes for task in whole.tasks]
    assert classes == [task.classes for task in again.tasks]
    assert [task.classes for task in half.tasks] == [group[:1] for group in classes]
    assert sorted(number for group in classes for number in group) == [0, 1, 2, 3]
    assert any(group != classes[0] for group in other)
    for task in whole.tasks:
        assert task.class_names == tuple(sorted(WORDS)[number] for number in task.classes)
        for part in (task.train, task.test):  # the same classes under the same labels
            for x, y in zip(part.x, part.y, strict=True):
                assert x[0, 0, 0] == 50 * WORDS.index(task.class_names[y])
    batch = whole.tasks[0].train[torch.arange(3)]
    assert batch.x.shape == (3, 3, 224, 224)
    with pytest.raises(Exception, match=r"data\.classes_per_task=9: the tasks have 2 classes"):
        tasks_of(tmp_path, "tiny_imagenet_4", *two, "data.classes_per_task=9")
