"""A method as its file has it forgets clearly less than fine-tuning."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import execute, results_of

SHARED = ["logger=none", "evaluate_every=0", "trainer=cpu", "optimizer=adam", "download=false"]
DIGITS = ["data=digits", "heads=multi", "backbone=mlp", "lr=0.02", "epochs=6", "batch_size=16"]
MNIST = ["data=split_mnist", "lr=0.003", "epochs=4", "batch_size=32"]
SEEDS = (1, 2, 3)


def write_idx(path: Path, array: np.ndarray[Any, Any]) -> None:
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    path.write_bytes(head + array.astype(np.uint8).tobytes())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images in the form of MNIST: ten mixtures of six coarse patterns, under noise."""
    folder = tmp_path_factory.mktemp("mnist")
    (folder / "MNIST" / "raw").mkdir(parents=True)
    draw = np.random.default_rng(0)
    patterns = draw.normal(size=(6, 7, 7)).repeat(4, 1).repeat(4, 2)
    classes = np.einsum("cp,phw->chw", draw.normal(size=(10, 6)), patterns)
    classes = 128 + 60 * classes / np.abs(classes).std()
    for part, count in (("train", 150), ("t10k", 50)):
        labels = np.tile(np.arange(10), count)
        images = classes[labels] + draw.normal(size=(len(labels), 28, 28)) * 120
        for kind, array in (("images-idx3", images.clip(0, 255)), ("labels-idx1", labels)):
            write_idx(folder / "MNIST" / "raw" / f"{part}-{kind}-ubyte", array)
    return folder


@pytest.fixture(scope="module")
def forgotten() -> dict[str, float]:
    """Forgetting in [0, 1] of runs that were made already, by their options."""
    return {}


def forgetting(strategy: str, options: list[str], known: dict[str, float], folder: Path) -> float:
    """The mean over seeds; of fine-tuning once."""
    name = f"{strategy} {options[0]}"
    if name not in known:
        found = []
        for seed in SEEDS:
            place = folder / f"{name} {seed}"
            given = [f"strategy={strategy}", f"seed={seed}", *options, *SHARED]
            assert execute(place, *given) == 0
            found.append(results_of(place)["metrics"]["forgetting"])
        known[name] = sum(found) / len(found)
    return known[name]


@pytest.mark.parametrize(
    ("strategy", "options"),
    [
        ("si", DIGITS), ("lwf", DIGITS),
        pytest.param("mas", DIGITS, marks=pytest.mark.slow),
        pytest.param("ewc", DIGITS, marks=pytest.mark.slow),
        pytest.param("l2", MNIST, marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_default_strength_does_something(
    strategy: str, options: list[str], made: Path, forgotten: dict[str, float], tmp_path: Path,
) -> None:  # fmt: skip
    given = [*options, f"paths.data_dir={made}"]
    without = forgetting("finetune", given, forgotten, tmp_path)
    assert without > 0.1
    assert forgetting(strategy, given, forgotten, tmp_path) < 0.7 * without
