"""CIFAR-10 and CIFAR-100 from every form they come in."""

from __future__ import annotations

import io
import pickle
import re
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lifelong.data.sources import cifar10, cifar100, cifar_swap, image_folder
from lifelong.data.sources.source import Source
from tests.data.small_files import write_cifar10


def test_cifar10_joins_its_five_parts(tmp_path: Path) -> None:
    images = write_cifar10(tmp_path / "cifar-10-batches-py")
    source = cifar10(tmp_path, download=False)
    assert np.array_equal(source.train_images, images.reshape(-1, 3, 32, 32))
    assert source.train_labels.tolist() == list(range(10)) * 5
    assert source.classes[9] == "class 9"


def test_the_other_cifar() -> None:
    with pytest.raises(ValueError, match="digits is no stream of CIFAR"):
        cifar_swap("digits", "data")
    for name, other in (("cil_cifar10", "cifar100"), ("cil_cifar100", "cifar10")):
        with pytest.raises(ValueError, match=f"{other}: no images"):
            cifar_swap(name, "/nowhere", download=False)


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
