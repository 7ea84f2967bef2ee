"""Pools of unlabeled images that are smaller than asked for, or empty."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lifelong.data import Images, Visit
from lifelong.networks import MultiHead, TwoBranchNetwork
from lifelong.strategies import CIL
from tests.conftest import execute, results_of, small_body, toy_task

NONE: Any = []  # instead of a loader that is not used
SHAPE = (3, 6, 6)


def pool(folder: Path, count: int, shape: tuple[int, ...] = SHAPE) -> Path:
    path = folder / f"pool_{count}.npz"
    np.savez(path, np.random.default_rng(0).integers(0, 256, (count, *shape), np.uint8))
    return path


def visit_of(index: int, last: bool = False) -> Visit:
    """Of a task of 24 colour images in bytes, 8 of each class."""
    x = (255 * torch.rand(24, *SHAPE)).byte()
    train = Images(x, torch.arange(24) % 3, torch.full((24,), index))
    return Visit(index + 1, replace(toy_task(index), train=train), last)


def made(path: Path, **options: Any) -> CIL:
    network = TwoBranchNetwork(small_body(SHAPE), MultiHead)
    values = {"batch_size": 48, "memory": 2, "neighbours": 5, "unlabeled": str(path)} | options
    return CIL(network, partial(torch.optim.SGD, lr=0.05), **values)


def after_one(method: CIL) -> CIL:
    visit = visit_of(0)
    method.check([visit.task, visit_of(1).task])
    method.begin_task(visit)
    method.end_task(visit, NONE)
    return method


@pytest.mark.parametrize(
    ("images", "options", "taken", "asked"),
    [  # 6 exemplars ask for 30 images
        (29, {}, 29, 30),
        (30, {}, 30, None),
        (31, {}, 30, None),
        (7, {"max_unlabeled": 8}, 7, 8),
        (8, {"max_unlabeled": 8}, 8, None),
        (29, {"max_unlabeled": 100}, 29, 30),
        (11, {"memory": 1, "neighbours": 4}, 11, 12),
        (1, {}, 1, 30),
    ],
)
def test_a_pool_smaller_than_asked_for_is_told(
    tmp_path: Path, images: int, options: dict[str, int], taken: int, asked: int | None
) -> None:
    path = pool(tmp_path, images)
    method = after_one(made(path, **options))
    assert method.method["selected"] == {"1": taken}
    expected = f"visit 1: unlabeled={path} has {images} images; {taken} are taken, where {asked} "
    assert method.notes == ([] if asked is None else [f"{expected}were asked for"])


def test_the_last_task_asks_for_nothing(tmp_path: Path) -> None:
    method, visit = made(pool(tmp_path, 2)), visit_of(0, last=True)
    method.check([visit.task])
    method.begin_task(visit)
    method.end_task(visit, NONE)
    assert method.notes == []
    assert method.method["selected"] == {}


def test_a_note_is_said_in_the_run(tmp_path: Path) -> None:
    path, folder = pool(tmp_path, 3, (1, 8, 8)), tmp_path / "run"
    options = ["data=digits", "tasks=2", "epochs=1", "batch_size=16", "data.fraction=0.2"]
    options += ["strategy=cil", "unlabeled=npz", f"unlabeled_file={path}"]
    assert execute(folder, *options, "strategy.max_unlabeled=4", "logger=none") == 0
    assert results_of(folder)["method"]["selected"] == {"1": 3}
    note = f"note: visit 1: unlabeled={path} has 3 images; 3 are taken, where 4 were asked for"
    assert note in " ".join((folder / "train.log").read_text().split())


def test_an_empty_pool_is_refused(tmp_path: Path) -> None:
    empty = pool(tmp_path, 0)
    last = tmp_path / "last.npy"
    np.save(last, np.zeros((0, 6, 6, 3), np.uint8))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "note.txt").write_text("no image")
    for path in (empty, last, tmp_path / "folder"):
        with pytest.raises(ValueError, match=rf"unlabeled.*{path}.*(has|holds) no images"):
            made(path).check([visit_of(0).task])
    Image.new("RGB", (6, 6)).save(tmp_path / "folder" / "one.png")
    made(tmp_path / "folder").check([visit_of(0).task])
    for name in ("none", "exemplars"):  # which have no pool
        made(Path(name)).check([visit_of(0).task])
