"""Pools of images without labels (Tickets spec, 1.4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from lifelong.configuration.compose import FOLDER
from lifelong.data import HeldOut, Images, unlabeled
from lifelong.data.sources import Source, digits, image_folder
from lifelong.data.transforms import Pad
from tests.conftest import configured, execute, images, results_of
from tests.data.plain_files import plain, write_folder


def like(shape: tuple[int, ...] = (3, 8, 8)) -> Images:
    one = torch.zeros(1, dtype=torch.long)
    return Images(torch.zeros(1, *shape).byte(), one, one, std=torch.full((shape[0],), 255.0))


def source(classes: int = 4, each: int = 3, shape: tuple[int, ...] = (3, 8, 8)) -> Source:
    """Images of class k are all of value k."""
    labels = np.repeat(np.arange(classes), each)
    images = np.ones((len(labels), *shape), np.uint8) * labels[:, None, None, None].astype(np.uint8)
    names = tuple(f"class {label}" for label in range(classes))
    return Source("toy", images, labels, images[:0], labels[:0], names, "memory")


def test_classes_that_the_stream_leaves_out() -> None:
    pool = unlabeled(HeldOut(source()), like(), {0, 2})
    assert sorted({int(value) for value in pool.x.flatten()}) == [1, 3]
    assert len(pool) == 6
    assert HeldOut(source()).name == "toy, other classes"
    with pytest.raises(ValueError, match="the stream uses all 4 classes of toy; give fewer"):
        unlabeled(HeldOut(source()), like(), range(4))


@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("name", ["pool.npz", "pool.npy"])
def test_array_files(tmp_path: Path, name: str, last: bool) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 8, 8), np.uint8)
    stored = images.transpose(0, 2, 3, 1) if last else images
    if name == "pool.npz":
        np.savez(tmp_path / name, images=stored)
    else:
        np.save(tmp_path / name, stored)
    pool = unlabeled(tmp_path / name, like())
    assert np.array_equal(pool.x.numpy(), images)
    assert unlabeled(tmp_path / name, like((3, 4, 4))).x.shape == (5, 3, 4, 4)


def test_array_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "broken.npz").write_bytes(b"nothing")
    np.save(tmp_path / "floats.npy", np.zeros((2, 3, 8, 8)))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    for name, message in (
        ("broken.npz", "not a readable array file"),
        ("objects.npy", "not a readable array file"),
        ("floats.npy", "holds float64 of shape .*; give uint8 images"),
        ("nowhere.npy", "no such folder, zip file or array file"),
    ):
        with pytest.raises(ValueError, match=message):
            unlabeled(tmp_path / name, like())


def test_held_out_digits_teach(tmp_path: Path, capsys: Any) -> None:
    options = ["data=digits", "strategy=cil", "tasks=2", "epochs=2", "batch_size=64"]
    options += ["logger=none", "strategy.memory=10", "unlabeled=heldout_classes"]
    assert execute(tmp_path / "short", *options) == 0
    results = results_of(tmp_path / "short")
    assert results["method"]["unlabeled"] == "digits, other classes"
    left = int((digits().train_labels >= 4).sum())
    assert results["method"]["selected"] == {"1": left}  # 20 anchors want 1000
    options[2] = "tasks=null"
    assert execute(tmp_path / "whole", *options) == 2
    assert "the stream uses all 10 classes of digits" in capsys.readouterr().err


def test_every_member_of_the_group_names_a_pool(tmp_path: Path) -> None:
    """The files are not there, so sources say so."""
    for path in sorted((FOLDER / "unlabeled").glob("*.yaml")):
        extra = {"folder": ["unlabeled_folder=a"], "npz": ["unlabeled_file=a.npz"]}
        config = configured(
            "strategy=cil", "data=cil_cifar10", f"unlabeled={path.stem}", "download=false",
            f"paths.data_dir={tmp_path}", *extra.get(path.stem, []),
        )  # fmt: skip
        pool = config.strategy.unlabeled
        if isinstance(pool, str):
            assert pool in ("none", "exemplars", "a", "a.npz")
            continue
        with pytest.raises(Exception, match="no images in"):
            instantiate(pool)


def test_unlabeled_images_of_a_person(tmp_path: Path) -> None:
    for place in ("a.png", "deep/er/b.png"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(plain(100, (6, 6)))
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
