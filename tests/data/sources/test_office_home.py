"""Office-Home from the distributor's layout, and its streams (LASEM spec, check 15)."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from PIL import Image

from lifelong.configuration.complete import complete
from lifelong.data import TaskStream, by_class
from lifelong.data.sources import digits, office_home
from tests.conftest import configured

NAME = "OfficeHomeDataset_10072016"


def objects() -> list[str]:
    """The 65 names that the stream's classes are made of."""
    lists = configured("data=office_home", "strategy=hps").data.classes
    return sorted({name.split("/")[1] for group in lists for name in group})


def picture(seed: int, size: tuple[int, int] = (40, 30)) -> bytes:
    """A JPEG file of one colour that tells its seed."""
    file = io.BytesIO()
    Image.new("RGB", size, (8 * (seed % 32), 5 * (seed // 32), 77)).save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set in the official layout: gaps in the numbers, and domains not asked for."""
    root = tmp_path_factory.mktemp("office")
    seed = 0
    for domain, counts in (("Product", 10), ("Real World", 11), ("Art", 2)):
        for name in objects():
            folder = root / NAME / domain / name
            folder.mkdir(parents=True)
            for number in range(counts):
                (folder / f"{2 * number + 1:05d}.jpg").write_bytes(picture(seed))
                seed += 1
    (root / NAME / "ImageInfo.csv").write_text("not an image")
    return root


def streamed(folder: Path, *overrides: str, data: str = "office_home") -> TaskStream:
    config = configured(
        f"data={data}",
        "strategy=hps",
        f"paths.data_dir={folder}",
        "data.shape=[3,16,16]",
        *overrides,
    )
    complete(config)
    try:
        made = instantiate(config.data, _convert_="all")
    except InstantiationException as error:
        raise error.__cause__ or error from None
    assert isinstance(made, TaskStream)
    return made


def test_reads_the_domains(tree: Path) -> None:
    source = office_home(tree, shape=(3, 16, 16))
    assert len(source.classes) == 130
    assert source.classes[0] == "Product/Alarm_Clock"
    assert source.classes[65] == "Real World/Alarm_Clock"
    assert source.train_images.shape == (65 * 21, 3, 16, 16)
    assert len(source.test_labels) == 0
    label = source.classes.index("Product/TV")
    assert (source.train_labels == label).sum() == 10
    image = source.train_images[source.train_labels == 0][3]
    assert abs(int(image[0].mean()) - 24) <= 2  # the fourth picture of the first class


@pytest.mark.parametrize("spelling", ["RealWorld", "real_world", "Real World"])
def test_spelling_of_domains(tree: Path, tmp_path: Path, spelling: str) -> None:
    shutil.copytree(tree / NAME, tmp_path / "office_home")
    (tmp_path / "office_home" / "Real World").rename(tmp_path / "office_home" / spelling)
    source = office_home(tmp_path, domains=["real world"], shape=(3, 16, 16))
    assert source.classes[0] == "Real World/Alarm_Clock"


def test_zip_with_a_folder_around_it(tree: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / f"{NAME}.zip", "w") as archive:
        for path in sorted((tree / NAME).rglob("*.jpg")):
            archive.write(path, path.relative_to(tree))
    folder, zipped = (office_home(root, shape=(3, 16, 16)) for root in (tree, tmp_path))
    assert np.array_equal(folder.train_images, zipped.train_images)
    assert folder.classes == zipped.classes
    (tmp_path / f"{NAME}.zip").unlink()
    assert office_home(tmp_path, shape=(3, 16, 16)).classes == folder.classes  # the prepared copy


def test_ten_tasks(tree: Path) -> None:
    stream = streamed(tree)
    assert len(stream) == 10
    names = office_home(tree, shape=(3, 16, 16)).classes
    for index, task in enumerate(stream.tasks):
        counts = [13 * 6, 13 * 1, 13 * 3]  # int() of .6, .1 and .3 of 10 or 11 images a class
        assert [len(part) for part in (task.train, task.val, task.test)] == counts
        assert len(task.classes) == 13
        domain = "Product" if index < 5 else "Real World"
        assert all(names[label].startswith(domain) for label in task.classes)
        other = stream.tasks[(index + 5) % 10]
        assert [names[label].split("/")[1] for label in task.classes] == [
            names[label].split("/")[1] for label in other.classes
        ]
    assert names[stream.tasks[0].classes[0]] == "Product/TV"
    assert len({label for task in stream.tasks for label in task.classes}) == 130
    x = stream.tasks[0].train[torch.arange(5)].x
    assert 0 <= x.min() <= x.max() <= 1


def keys(images: Any) -> set[bytes]:
    return {bytes(image.numpy().tobytes()) for image in images.x}


@pytest.mark.parametrize("data", ["office_home", "office_home_incremental"])
def test_no_image_is_in_two_parts(tree: Path, data: str) -> None:
    stream = streamed(tree, data=data)
    train, val, test = (
        set().union(*(keys(getattr(task, part)) for task in stream.tasks))
        for part in ("train", "val", "test")
    )
    assert not train & test
    assert not train & val
    assert not val & test


def test_incremental_stream(tree: Path) -> None:
    stream = streamed(tree, data="office_home_incremental")
    assert [len(task.classes) for task in stream.tasks] == [3, 4, 5, 6, 7, 8]
    for earlier, later in zip(stream.tasks, stream.tasks[1:], strict=False):
        assert later.classes[: len(earlier.classes)] == earlier.classes
        assert keys(earlier.train) < keys(later.train)  # a class brings the same images


def test_another_seed_draws_other_images(tree: Path) -> None:
    one, two = streamed(tree, "data.seed=1"), streamed(tree, "data.seed=2")
    assert keys(one.tasks[0].test) != keys(two.tasks[0].test)
    same = streamed(tree, "data.seed=1", "data.release_split=true")
    again = streamed(tree, "data.seed=2", "data.release_split=true")
    assert keys(same.tasks[0].test) == keys(again.tasks[0].test)


def test_refusals(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"office_home: no images .*10072016\.zip.*by hand"):
        office_home(tmp_path)
    with pytest.raises(ValueError, match=r"data.source.domains=.'Photo'.: give some of Art"):
        office_home(tree, domains=["Photo"])
    with pytest.raises(ValueError, match=r"holds no images Clipart/<object>"):
        office_home(tree, domains=["Clipart"], shape=(3, 16, 16))
    with pytest.raises(ValueError, match=r"data.classes: Product/Phone is no class of office_home"):
        streamed(tree, "data.classes=[[Product/Phone,Product/TV]]")
    with pytest.raises(ValueError, match=r"data.shares=.0.9, 0.2, 0.1.: give three shares"):
        streamed(tree, "data.shares=[0.9,0.2,0.1]")
    with pytest.raises(ValueError, match=r"data.shares.*has test images of its own"):
        by_class(digits(), name="", shape=(1, 8, 8), batch_size=1, tasks=5, shares=[0.6, 0.1, 0.3])
    broken = tmp_path / "office_home" / "Product" / "TV"
    broken.mkdir(parents=True)
    (broken / "00001.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"00001.jpg is not a readable image"):
        office_home(tmp_path, domains=["Product"])
