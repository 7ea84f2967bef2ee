"""Small files in the official layouts, and streams of them."""

from __future__ import annotations

import gzip
import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import instantiate
from PIL import Image
from scipy.io import savemat

from lifelong.configuration.complete import complete
from lifelong.configuration.options import check_options
from lifelong.data import TaskStream
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


def stream_of(data: str, folder: Path, *overrides: str) -> TaskStream:
    config = configured(
        f"data={data}", "strategy=finetune", f"paths.data_dir={folder}", "download=false",
        *overrides,
    )  # fmt: skip
    complete(config)
    check_options(config)
    stream = instantiate(config.data, _convert_="all")
    assert isinstance(stream, TaskStream)
    return stream
