"""Sources and streams of the TAG paper on small files in the official layouts (TAG spec, 9.13)."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from PIL import Image
from scipy.io import savemat

from lifelong.configuration.complete import complete
from lifelong.configuration.options import check_options
from lifelong.data import Images, TaskStream, permuted, rotated, sequence
from lifelong.data.sources import (
    Source,
    cifar10,
    cub,
    fashion_mnist,
    image_folder,
    mini_imagenet,
    mnist,
    notmnist,
    svhn,
)
from lifelong.data.sources.pickled import unpickle
from tests.conftest import configured

Array = np.ndarray[Any, Any]


def drawn(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def encoded(image: Array, form: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, form)
    return file.getvalue()


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def idx(array: Array) -> bytes:
    head = struct.pack(f">4B{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_mnist(folder: Path, packed: bool, count: int = 20) -> dict[str, Array]:
    arrays = {
        "train-images-idx3": drawn(count, 28, 28),
        "train-labels-idx1": np.arange(count) % 10,
        "t10k-images-idx3": drawn(count // 2, 28, 28, seed=1),
        "t10k-labels-idx1": np.arange(count // 2) % 10,
    }
    for name, array in arrays.items():
        content = idx(array)
        content, ending = (gzip.compress(content), ".gz") if packed else (content, "")
        write(folder / f"{name}-ubyte{ending}", content)
    return arrays


def write_cifar10(folder: Path, count: int = 10) -> Array:
    images = drawn(5 * count, 3072)
    for number in range(6):
        part = images[number * count : (number + 1) * count] if number < 5 else images[:count]
        content = {"data": part, "labels": [row % 10 for row in range(count)]}
        name = f"data_batch_{number + 1}" if number < 5 else "test_batch"
        write(folder / name, pickle.dumps(content, protocol=2))
    names = [f"class {label}" for label in range(10)]
    write(folder / "batches.meta", pickle.dumps({"label_names": names}, protocol=2))
    return images


def write_svhn(folder: Path, count: int = 20) -> Array:
    images = drawn(32, 32, 3, count)
    labels = (np.arange(count) % 10 + 1)[:, None]  # 10 stands for the digit 0
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "test"):
        savemat(folder / f"{part}_32x32.mat", {"X": images, "y": labels.astype(np.uint8)})
    return images


def write_notmnist(folder: Path, count: int = 4) -> None:
    for letter in "ABCDEFGHIJ":
        for number in range(count):
            write(folder / letter / f"{number}.png", encoded(drawn(28, 28, seed=number)))
    write(folder / "A" / "broken.png", b"no image")


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


def test_svhn(tmp_path: Path) -> None:
    images = write_svhn(tmp_path)
    source = svhn(tmp_path, download=False)
    assert np.array_equal(source.train_images[4], images[..., 4].transpose(2, 0, 1))
    assert source.train_labels[:11].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1]
    (tmp_path / "test_32x32.mat").write_bytes(b"no mat file")
    with pytest.raises(ValueError, match=r"test_32x32.mat: not a readable file"):
        svhn(copied(tmp_path, "train_32x32.mat", "test_32x32.mat"), download=False)


def copied(folder: Path, *names: str) -> Path:
    """The files in a new folder, without the prepared copy."""
    for name in names:
        write(folder / "again" / name, (folder / name).read_bytes())
    return folder / "again"


def test_cifar10_joins_its_five_parts(tmp_path: Path) -> None:
    images = write_cifar10(tmp_path / "cifar-10-batches-py")
    source = cifar10(tmp_path, download=False)
    assert np.array_equal(source.train_images, images.reshape(-1, 3, 32, 32))
    assert source.train_labels.tolist() == list(range(10)) * 5
    assert source.classes[9] == "class 9"


def wnids() -> list[str]:
    groups = configured("data=split_mini_imagenet", "strategy=finetune").data.classes
    return [name for group in groups for name in group]


def test_mini_imagenet_from_folders_and_pickles(tmp_path: Path) -> None:
    """Both forms give the same: the last images of each class are for testing."""
    names = wnids()
    assert len(set(names)) == 100
    parts = {"train": names[:64], "test": names[64:84], "val": names[84:]}
    folder, pickles = tmp_path / "folder", tmp_path / "pickles"
    for part, classes in parts.items():
        images = drawn(10 * len(classes), 84, 84, 3, seed=len(classes))
        rows = {name: list(range(10 * i, 10 * i + 10)) for i, name in enumerate(classes)}
        content = {"image_data": images, "class_dict": rows}
        path = pickles / f"mini-imagenet-cache-{part}.pkl"
        write(path, pickle.dumps(content, protocol=2))
        for name in classes:
            for number, row in enumerate(rows[name]):  # eight in one part, two in another
                place = folder / "mini_imagenet" / ("train" if number < 8 else "val") / name
                write(place / f"{name}{number:08d}.png", encoded(images[row]))
    one, other = mini_imagenet(folder), mini_imagenet(pickles)
    assert one.classes == other.classes == tuple(sorted(names))
    assert one.train_images.shape == (800, 3, 84, 84)
    assert one.test_images.shape == (200, 3, 84, 84)
    assert np.array_equal(one.train_images, other.train_images)
    assert np.array_equal(one.test_images, other.test_images)
    assert np.array_equal(one.train_labels, other.train_labels)
    stream = made("split_mini_imagenet", folder)
    assert [len(visit.task.classes) for visit in stream] == [5] * 20
    assert [one.classes[label] for label in stream.tasks[13].classes] == names[65:70]
    x = stream.tasks[0].train[torch.arange(40)].x
    assert float(x.min()) == pytest.approx(-1)
    assert float(x.max()) == pytest.approx(1)


def test_a_copy_is_made_anew_when_another_of_the_files_changes(tmp_path: Path) -> None:
    write_svhn(tmp_path, 20)
    assert len(svhn(tmp_path, download=False).test_labels) == 20
    savemat(tmp_path / "test_32x32.mat", {"X": drawn(32, 32, 3, 7), "y": np.ones((7, 1), np.uint8)})
    assert len(svhn(tmp_path, download=False).test_labels) == 7


def test_a_folder_of_the_users_is_not_taken_for_a_data_set(tmp_path: Path) -> None:
    for part in ("train", "test"):
        for label in "ab":
            write(tmp_path / "mine" / "mnist" / part / label / "1.png", encoded(drawn(28, 28)))
    image_folder(tmp_path / "mine" / "mnist", shape=(1, 28, 28), cache=tmp_path)
    with pytest.raises(ValueError, match="mnist: no images in"):
        mnist(tmp_path, download=False)


class Pickled:
    """Pickles as what a recipe makes."""

    def __init__(self, *recipe: Any) -> None:
        self.recipe = recipe

    def __reduce__(self) -> Any:
        return self.recipe


@pytest.mark.parametrize("code", ["V8", "O8", "U1", "M8", "O", "u"])
def test_a_pickle_may_hold_arrays_of_numbers_alone(code: str) -> None:
    """Such as arrays of object pointers, whose flags could deny that they are."""
    content = {"data": Pickled(np.dtype, (code,), (3, "|", None, None, None, 8, 1, 0))}
    with pytest.raises(ValueError, match="it asks for arrays of"):
        unpickle(pickle.dumps(content, protocol=2))


def test_what_numpy_would_make_of_a_type_does_not_matter() -> None:
    """Fields of objects within a plain type are not looked at."""
    fields = (3, "|", None, ("f",), {"f": (0, 0)}, 8, 1, 0)
    array = Pickled(np.ndarray, ((1,), Pickled(np.dtype, ("u1",), fields), b"A"))
    found = unpickle(pickle.dumps({"data": array}, protocol=2))["data"]
    assert np.asarray(found).size == 0  # arrays are made by their state alone


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_arrays_of_numbers_come_back(protocol: int) -> None:
    arrays = {
        "bytes": drawn(3, 4), "numbers": np.arange(6).reshape(2, 3), "none": np.empty((0, 2)),
        "turned": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "big": np.arange(3, dtype=">i4"),
    }  # fmt: skip
    found = unpickle(pickle.dumps(arrays, protocol=protocol))
    for name, array in arrays.items():
        assert np.array_equal(np.asarray(found[name]), array)
        assert np.array_equal(np.asarray(found[name], dtype=np.int64), array.astype(np.int64))


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (print, ("run",))

    path = tmp_path / "mini-imagenet-cache-train.pkl"
    path.write_bytes(pickle.dumps({"image_data": Evil(), "class_dict": {}}))
    with pytest.raises(ValueError, match=r"not a readable pickle \(it asks for builtins.print"):
        mini_imagenet(tmp_path)


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
    stream = made("split_cub", tmp_path, "data.shape=[3,8,8]", f"fidelity={fidelity}")
    assert [visit.task.classes for visit in stream][1] == tuple(range(10, 20))
    x = stream.tasks[0].train[torch.tensor([0])].x[0, :, 0, 0]  # of the colour (1, shot, 7)
    pixel = torch.tensor([1.0, 0.0, 7.0])
    released = 2 * (pixel - torch.tensor([103.94, 116.78, 123.68]) - 0.5)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = released if fidelity == "authors" else (pixel / 255 - mean) / std
    torch.testing.assert_close(x[[0, 2]], expected[[0, 2]])


def made(data: str, folder: Path, *overrides: str) -> TaskStream:
    config = configured(
        f"data={data}", "strategy=finetune", f"paths.data_dir={folder}", "download=false",
        *overrides,
    )  # fmt: skip
    complete(config)
    check_options(config)
    stream = instantiate(config.data, _convert_="all")
    assert isinstance(stream, TaskStream)
    return stream


def test_five_datasets(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "cifar-10-batches-py", 30)
    write_mnist(tmp_path / "MNIST" / "raw", packed=True, count=100)
    write_mnist(tmp_path / "FashionMNIST" / "raw", packed=False, count=80)
    write_svhn(tmp_path, 90)
    write_notmnist(tmp_path / "notMNIST_small", 10)
    stream = made("five_datasets", tmp_path)
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
    assert stream.checksum() != made("five_datasets", tmp_path, "data.fraction=0.9").checksum()


def test_a_missing_data_set_of_a_sequence_is_named(tmp_path: Path) -> None:
    write_cifar10(tmp_path / "cifar-10-batches-py", 30)
    with pytest.raises(InstantiationException, match=r"mnist: no images .*train-images-idx3"):
        made("five_datasets", tmp_path)


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
    with pytest.raises(ValueError, match=r"data.sources=\[\]"):
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
