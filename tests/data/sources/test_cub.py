"""CUB-200 on small files in the official layout."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from lifelong.data.sources import cub
from tests.data.small_files import encoded, stream_of, write


def write_cub(folder: Path, classes: int = 200) -> None:
    lines: dict[str, list[str]] = {name: [] for name in ("images", "labels", "split", "classes")}
    number = 0
    for label in range(1, classes + 1):
        name = f"{label:03d}.Bird_{label}"
        lines["classes"].append(f"{label} {name}")
        for shot in range(3):
            number += 1
            lines["images"].append(f"{number} {name}/shot_{shot}.jpg")
            lines["labels"].append(f"{number} {label}")
            lines["split"].append(f"{number} {int(shot < 2)}")
            colour = np.full((12, 18, 3), (label % 250, shot, 7), np.uint8)
            write(folder / "images" / name / f"shot_{shot}.jpg", encoded(colour, "PNG"))
    names = {"labels": "image_class_labels", "split": "train_test_split"}
    for name, content in lines.items():
        write(folder / f"{names.get(name, name)}.txt", "\n".join(content).encode())


@pytest.mark.parametrize("form", ["folder", "archive"])
def test_cub(tmp_path: Path, form: str) -> None:
    write_cub(tmp_path / "CUB_200_2011")
    if form == "archive":
        with tarfile.open(tmp_path / "CUB_200_2011.tgz", "w:gz") as archive:
            archive.add(tmp_path / "CUB_200_2011", "CUB_200_2011")
            archive.addfile(tarfile.TarInfo("attributes.txt"))
        (tmp_path / "CUB_200_2011").rename(tmp_path / "elsewhere")
    source = cub(tmp_path, shape=(3, 8, 8))
    assert source.train_images.shape == (400, 3, 8, 8)
    assert source.test_images.shape == (200, 3, 8, 8)
    assert source.classes[0] == "001.Bird_1"
    assert source.train_images[2 * 41 + 1, :, 4, 4].tolist() == [42, 1, 7]
    assert source.test_labels.tolist() == list(range(200))


def test_cub_with_a_missing_image(tmp_path: Path) -> None:
    write_cub(tmp_path / "CUB_200_2011", classes=2)
    (tmp_path / "CUB_200_2011" / "images" / "002.Bird_2" / "shot_1.jpg").unlink()
    with pytest.raises(ValueError, match=r"images/002.Bird_2/shot_1.jpg is missing"):
        cub(tmp_path, shape=(3, 8, 8))


@pytest.mark.parametrize("fidelity", ["clean", "authors"])
def test_split_cub(tmp_path: Path, fidelity: str) -> None:
    """With `authors` as released: B, G, R means off R, G, B, then 2 (x - 1/2)."""
    write_cub(tmp_path / "CUB_200_2011")
    stream = stream_of("split_cub", tmp_path, "data.shape=[3,8,8]", f"fidelity={fidelity}")
    assert [visit.task.classes for visit in stream][1] == tuple(range(10, 20))
    x = stream.tasks[0].train[torch.tensor([0])].x[0, :, 0, 0]  # of the colour (1, shot, 7)
    pixel = torch.tensor([1.0, 0.0, 7.0])
    released = 2 * (pixel - torch.tensor([103.94, 116.78, 123.68]) - 0.5)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = released if fidelity == "authors" else (pixel / 255 - mean) / std
    torch.testing.assert_close(x[[0, 2]], expected[[0, 2]])
