"""CIFAR-100 from every form it comes in, and its streams (LASEM spec, check 15)."""

from __future__ import annotations

import io
import pickle
import re
import tarfile
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from PIL import Image

from lifelong.configuration.compose import FOLDER
from lifelong.data import TaskStream, by_class
from lifelong.data.sources import cifar100, image_folder
from lifelong.data.sources.source import Source

NAMES = [f"class_{number:02d}" for number in range(100)]


def pixels(number: int, row: int) -> np.ndarray[Any, Any]:
    """An image (3, 32, 32) that tells its class and number."""
    image = np.random.default_rng([number, row]).integers(0, 256, (3, 32, 32))
    image[:, 0, 0] = number
    image[:, 0, 1] = row
    return image.astype(np.uint8)


def official(folder: Path, train: int = 2, labels: Any = range(100), extra: Any = None) -> Path:
    """A small archive in the official format."""
    path = folder / "cifar-100-python.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for part, count in (("train", train), ("test", 1)):
            rows = [(number, row) for row in range(count) for number in labels]
            content = {
                "data": np.stack([pixels(*row).reshape(-1) for row in rows]),
                "fine_labels": [number for number, _ in rows],
                "coarse_labels": [0 for _ in rows],
                "extra": extra,
            }
            add(archive, part, content)
        add(archive, "meta", {"fine_label_names": NAMES, "coarse_label_names": []})
    return path


def add(archive: tarfile.TarFile, name: str, content: Any) -> None:
    data = pickle.dumps(content, protocol=2)
    member = tarfile.TarInfo(f"cifar-100-python/{name}")
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def image_zip(folder: Path, classes: int = 100, name: str = "cifar100.zip") -> Path:
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(classes):
            for part, count in (("train", 2), ("test", 1)):
                for row in range(count):
                    data = io.BytesIO()
                    Image.fromarray(pixels(number, row).transpose(1, 2, 0)).save(data, "PNG")
                    archive.writestr(f"cifar100/{part}/{NAMES[number]}/{row}.png", data.getvalue())
    return path


def check(source: Source) -> None:
    assert source.classes == tuple(NAMES)
    assert source.train_images.shape == (200, 3, 32, 32)
    assert source.test_images.shape == (100, 3, 32, 32)
    for images, labels in (
        (source.train_images, source.train_labels),
        (source.test_images, source.test_labels),
    ):
        for image, label in zip(images, labels, strict=True):
            assert np.array_equal(image, pixels(image[0, 0, 0], image[0, 0, 1]))
            assert image[0, 0, 0] == label


def test_official_archive(tmp_path: Path) -> None:
    official(tmp_path)
    check(cifar100(tmp_path, download=False))


def test_unpacked_archive(tmp_path: Path) -> None:
    with tarfile.open(official(tmp_path)) as archive:
        archive.extractall(tmp_path, filter="data")
    (tmp_path / "cifar-100-python.tar.gz").unlink()
    check(cifar100(tmp_path, download=False))


def test_image_zip_in_place_and_its_prepared_copy(tmp_path: Path) -> None:
    path = image_zip(tmp_path)
    check(cifar100(tmp_path, download=False))
    [array] = (tmp_path / ".cache").glob("*.npy")
    written = array.stat().st_mtime_ns
    check(cifar100(tmp_path, download=False))
    assert array.stat().st_mtime_ns == written
    path.unlink()  # the copy serves alone
    check(cifar100(tmp_path, download=False))


def test_a_damaged_copy_is_made_anew(tmp_path: Path) -> None:
    image_zip(tmp_path)
    cifar100(tmp_path, download=False)
    [array] = (tmp_path / ".cache").glob("*.npy")
    content = bytearray(array.read_bytes())
    content[-1] ^= 1
    array.write_bytes(content)
    check(cifar100(tmp_path, download=False))


def test_a_folder_without_write_permission_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    image_zip(data)
    data.chmod(0o555)
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    check(cifar100(data, download=False))
    assert [path.name for path in data.iterdir()] == ["cifar100.zip"]
    assert list((cache / "lifelong").glob("*.npy"))


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no images in paths\.data_dir") as caught:
        cifar100(tmp_path, download=False)
    for part in ("cifar-100-python.tar.gz", "cifar100.zip", "https://", "data=digits"):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["cifar-100-python.tar.gz", "cifar100.zip"])
def test_unreadable_archive(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"no archive")
    with pytest.raises(ValueError, match=f"{name}: not a readable"):
        cifar100(tmp_path, download=False)


def test_truncated_archive(tmp_path: Path) -> None:
    path = official(tmp_path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match="not a readable archive"):
        cifar100(tmp_path, download=False)


@pytest.mark.parametrize("form", ["tar", "zip"])
def test_flipped_bytes_in_an_archive(tmp_path: Path, form: str) -> None:
    path = official(tmp_path) if form == "tar" else image_zip(tmp_path)
    content = bytearray(path.read_bytes())
    for position in range(len(content) // 3, len(content) // 3 + 400):
        content[position] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ValueError, match=re.escape(str(path))):
        cifar100(tmp_path, download=False)


def test_a_folder_of_a_like_name_is_not_taken_for_the_data_set(tmp_path: Path) -> None:
    """Only copies of CIFAR-100 itself serve when its archive is gone."""
    image_folder(
        image_zip(tmp_path, classes=3, name="cifar100-mine.zip"), shape=(3, 32, 32), cache=tmp_path
    )
    with pytest.raises(ValueError, match="no images in"):
        cifar100(tmp_path, download=False)


class Evil:
    """A pickle that would run code."""

    def __reduce__(self) -> Any:
        return (print, ("run",))


def test_an_archive_that_would_run_code_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    official(tmp_path, extra=Evil())
    with pytest.raises(ValueError, match=r"asks for (__builtin__|builtins).print"):
        cifar100(tmp_path, download=False)
    assert "run" not in capsys.readouterr().out


def test_labels_outside_the_class_list(tmp_path: Path) -> None:
    official(tmp_path, labels=range(101))
    with pytest.raises(ValueError, match=r"label 100 in .* is outside the class list of 100"):
        cifar100(tmp_path, download=False)


def test_too_few_classes(tmp_path: Path) -> None:
    image_zip(tmp_path, classes=99)
    with pytest.raises(ValueError, match="99 class folders"):
        cifar100(tmp_path, download=False)


def source(train: int = 60, test: int = 100) -> Source:
    """A hundred classes of small random images."""
    generator = np.random.default_rng(0)
    arrays: list[Any] = []
    for count in (train, test):
        arrays.append(generator.integers(0, 256, (100 * count, 3, 4, 4)).astype(np.uint8))
        arrays.append(np.repeat(np.arange(100), count))
    return Source("cifar100", *arrays, tuple(NAMES), "random")


def stream(name: str, **options: Any) -> TaskStream:
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        config = compose("config", [f"data={name}", "batch_size=10"]).data
    node = instantiate({k: v for k, v in config.items() if k not in ("_target_", "source")})
    values = {**node, "shape": (3, 4, 4), "source": options.pop("source", source()), **options}
    return by_class(**values)


@pytest.mark.parametrize(
    ("name", "tasks", "times"),
    [("cifar100", 10, 1), ("cifar100_20", 20, 2), ("cifar100_40", 40, 4)],
)
def test_class_lists(name: str, tasks: int, times: int) -> None:
    made = stream(name).tasks
    assert len(made) == tasks
    assert all(len(set(task.classes)) == 10 for task in made)
    counts = Counter(label for task in made for label in task.classes)
    assert counts == dict.fromkeys(range(100), times)


def test_some_lists_by_hand() -> None:
    ten, forty = stream("cifar100").tasks, stream("cifar100_40").tasks
    assert ten[0].classes == (4, 1, 54, 9, 0, 5, 6, 3, 12, 8)
    assert ten[9].classes == (87, 71, 38, 75, 99, 98, 93, 80, 96, 89)
    assert forty[39].classes == (4, 22, 54, 15, 0, 98, 97, 80, 90, 89)
    twenty = stream("cifar100_20").tasks
    assert [task.classes for task in twenty] == [task.classes for task in forty[:20]]


def test_sizes_and_statistics() -> None:
    for task in stream("cifar100").tasks:
        assert [len(task.train), len(task.val), len(task.test)] == [170, 30, 1000]
        for part in (task.train, task.val, task.test):
            x = part[torch.arange(len(part))].x.double()
            values = x.transpose(0, 1).flatten(1)
            torch.testing.assert_close(values.mean(1), torch.zeros(3).double(), atol=1e-5, rtol=0)
            deviation = values.std(1, correction=0)
            torch.testing.assert_close(deviation, torch.ones(3).double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("fraction", "train", "val"),
    [(0.02, 8, 2), (0.04, 17, 3), (0.06, 25, 5), (0.08, 33, 7), (0.1, 41, 9), (0.2, 83, 17),
     (0.25, 104, 21), (0.3, 125, 25), (0.4, 167, 33), (0.5, 208, 42), (0.6, 250, 50),
     (0.7, 292, 58), (0.75, 312, 63), (0.8, 333, 67), (0.9, 375, 75), (1.0, 417, 83)],
)  # fmt: skip
def test_levels_of_the_release(fraction: float, train: int, val: int) -> None:
    whole = source(train=500, test=1)
    task = stream("cifar100", source=whole, fraction=fraction, limit=1).tasks[0]
    assert [len(task.train), len(task.val)] == [10 * train, 10 * val]


def test_recurring_classes_bring_the_same_images() -> None:
    first, second = (stream("cifar100_20").tasks[index] for index in (0, 1))
    assert first.classes[0] == second.classes[0] == 4
    assert torch.equal(first.train.x[:17], second.train.x[:17])


def test_no_image_is_in_two_parts() -> None:
    task = stream("cifar100").tasks[0]
    parts = [
        {row.tobytes() for row in part.x.numpy()} for part in (task.train, task.val, task.test)
    ]
    assert not parts[0] & parts[1]
    assert not (parts[0] | parts[1]) & parts[2]


def test_the_seed_draws_the_images_and_the_release_does_not() -> None:
    def images(**options: Any) -> torch.Tensor:
        return stream("cifar100", **options).tasks[0].train.x

    assert torch.equal(images(seed=1), images(seed=1))
    assert not torch.equal(images(seed=1), images(seed=2))
    assert torch.equal(images(seed=1, release_split=True), images(seed=2, release_split=True))


def test_training_statistics_everywhere() -> None:
    task = stream("cifar100", standardize="train").tasks[0]
    assert torch.equal(task.train.scale, task.test.scale)
    assert not torch.equal(stream("cifar100").tasks[0].test.scale, task.test.scale)


def test_too_few_images() -> None:
    with pytest.raises(ValueError, match="asks for 83 training and 17"):
        stream("cifar100", fraction=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": [[1, 100]]}, "100 is no class of cifar100"),
        ({"fraction": 0.0}, "data.fraction=0.0"),
        ({"validation": 1.0}, "data.validation=1.0"),
        ({"per_class": [3]}, "data.per_class"),
        ({"standardize": "some"}, "data.standardize=some"),
        ({"shape": (1, 4, 4)}, "data.shape"),
        ({"limit": 11}, "tasks=11: the stream cifar100 has 10 tasks"),
        ({"order": [1, 3]}, "leaves out"),
        ({"order": [0, 1]}, "by their numbers, 1 to 10"),
        ({"batch_size": 171}, "batch_size=171: task 1 of cifar100 has only 170"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        stream("cifar100", **options)
