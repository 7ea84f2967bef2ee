"""Sources and streams of the MAS literature on small files (MAS spec, 1)."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from PIL import Image

from lifelong.data import TaskStream, folders, unlabeled
from lifelong.data.sources import image_folder, tiny_imagenet
from lifelong.data.transforms import Pad
from tests.conftest import configured, images

WORDS = ["n03", "n01", "n04", "n02"]


def encoded(value: int, size: tuple[int, int] = (64, 64), mode: str = "RGB") -> bytes:
    file = io.BytesIO()
    Image.new(mode, size, value if mode == "L" else (value, 0, 0)).save(file, "PNG")
    return file.getvalue()


def tiny_files() -> dict[str, bytes]:
    """Four classes; the red of an image is 50 times the rank of its class in wnids.txt."""
    files = {"wnids.txt": "\n".join(WORDS).encode(), "words.txt": b"", "test/images/t.JPEG": b"?"}
    lines = []
    for rank, word in enumerate(WORDS):
        for number in range(6):
            grey = "L" if number == 5 else "RGB"  # a few official images are grey
            files[f"train/{word}/images/{word}_{number}.JPEG"] = encoded(50 * rank, mode=grey)
        for number in range(2):
            name = f"val_{2 * rank + number}.JPEG"
            files[f"val/images/{name}"] = encoded(50 * rank)
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


def tasks_of(tmp_path: Path, data: str, *more: str) -> TaskStream:
    config = configured(f"data={data}", f"paths.data_dir={tmp_path}", "batch_size=2", *more)
    found: TaskStream = instantiate(config.data, _convert_="all")
    return found


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


def write_folder(root: Path, classes: int, size: tuple[int, int] = (40, 20)) -> None:
    for label in range(classes):
        for part, count in (("train", 6), ("test", 3)):
            for number in range(count):
                path = root / part / f"class {label}" / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(encoded(30 * label + number, size))


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
    with pytest.raises(ValueError, match=r"data\.roots=nothing: no such folder"):
        folders(
            ["nothing"], data_dir=str(tmp_path), shape=[3, 16, 16], fraction=1.0, validation=0.0,
            standardize="none", seed=0, name="x", batch_size=1,
        )  # fmt: skip


def test_aspect_ratios_are_kept_by_cutting(tmp_path: Path) -> None:
    path = tmp_path / "wide" / "a" / "0.png"
    path.parent.mkdir(parents=True)
    picture = np.zeros((20, 40, 3), np.uint8)
    picture[:, 10:30] = 200  # the middle square
    for number in range(5):
        Image.fromarray(picture).save(path.with_name(f"{number}.png"))
    cut = image_folder(tmp_path / "wide", shape=(3, 10, 10), cache=tmp_path, crop=True)
    assert (cut.train_images[..., 1:-1] == 200).all()
    assert cut.train_images.min() > 150  # where the filter reaches beyond the cut
    whole = image_folder(tmp_path / "wide", shape=(3, 10, 10), cache=tmp_path)
    assert not whole.train_images[..., 0].any()


def test_unlabeled_images_of_a_person(tmp_path: Path) -> None:
    for place in ("a.png", "deep/er/b.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(encoded(100, (6, 6)))
    like = images(5, (3, 6, 6), task=2)
    like.scale, like.shift = torch.full((3, 1, 1), 0.01), torch.full((3, 1, 1), -0.5)
    found = unlabeled(tmp_path, like)
    batch = found[torch.arange(2)]
    assert len(found) == 2
    assert batch.t.tolist() == [2, 2]
    torch.testing.assert_close(batch.x[:, 0], torch.full((2, 6, 6), 0.5))
    like.transform = Pad(2)
    assert unlabeled(tmp_path, like)[torch.arange(2)].x.shape == (2, 3, 10, 10)
    like.transform = None
    source = image_folder(tmp_path_with_classes(tmp_path), shape=(3, 12, 12), cache=tmp_path)
    assert unlabeled(source, like).x.shape[1:] == (3, 6, 6)
    for wrong, message in ((tmp_path / "no", "no such folder"), (empty(tmp_path), "no images")):
        with pytest.raises(ValueError, match=message):
            unlabeled(wrong, like)


def tmp_path_with_classes(folder: Path) -> Path:
    write_folder(folder / "classes", 2)
    return folder / "classes"


def empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


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
                path.write_bytes(encoded(20 * digit, (28, 28), "L"))
    made = tasks_of(tmp_path, "split_mnist", *options)
    assert [task.classes for task in made.tasks] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    x = made.tasks[1].test[torch.arange(4)].x
    assert x.shape == (4, 1, size, size)
    ends = x[0].max() - x[3].max()  # of a 2 and a 3
    torch.testing.assert_close(ends, torch.tensor(-20 / 255 / std))
