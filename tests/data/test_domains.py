"""Tasks that are domains of one set of classes, and test images named by a list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from lifelong.configuration.compose import FOLDER
from lifelong.data import TaskStream, domains, folder

OPTIONS: dict[str, Any] = {
    "shape": (1, 8, 8), "fraction": 1.0, "validation": 0.0, "standardize": "none", "seed": 0,
    "batch_size": 2,
}  # fmt: skip
KINDS = {"photo": "cat dog", "sketch": "cat dog", "video": "cat cow dog"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Grey images whose pixels tell domain, class and number."""
    for place, (domain, kinds) in enumerate(KINDS.items()):
        for kind in kinds.split():
            for number in range(5):
                path = tmp_path / "animals" / domain / kind / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                value = 80 * place + 20 * ("cat", "cow", "dog").index(kind) + number
                Image.new("L", (8, 8), value).save(path)
    return tmp_path / "animals"


def values(images: Any) -> list[int]:
    return sorted(int(image.flatten()[0]) for image in images.x[:])


def made(root: Path, **options: Any) -> TaskStream:
    given = {**OPTIONS, "labels": "shared", "data_dir": str(root.parent), **options}
    return domains([str(root)], **given)


def test_classes_are_numbered_by_name_over_all_domains(root: Path) -> None:
    stream = made(root)
    assert [task.name for task in stream.tasks] == ["photo", "sketch", "video"]
    assert {task.classes for task in stream.tasks} == {(0, 1, 2)}
    assert {task.class_names for task in stream.tasks} == {("cat", "cow", "dog")}
    assert sorted(stream.tasks[0].train.y.unique().tolist()) == [0, 2]  # photo has no cow
    assert [len(task.test) for task in stream.tasks] == [2, 2, 3]


def test_domains_have_their_own_order_and_may_have_their_own_classes(root: Path) -> None:
    stream = made(root, domains=["video", "photo"], labels="own")
    assert [task.classes for task in stream.tasks] == [(0, 1, 2), (3, 4)]


def test_all_are_tested_on_the_domains_for_testing(root: Path) -> None:
    stream = made(root, test_domains=["video"])
    assert [task.name for task in stream.tasks] == ["photo", "sketch"]
    assert [len(task.train) for task in stream.tasks] == [10, 10]
    video = [160 + 20 * kind + number for kind in range(3) for number in range(5)]
    assert all(values(task.test) == video for task in stream.tasks)
    stream.to(torch.device("cpu"))
    assert stream.tasks[0].test.x.data_ptr() == stream.tasks[1].test.x.data_ptr()  # held once


@pytest.mark.parametrize("style", ["{file} {label}", "{domain}/{file} {label}", "./{file}"])
def test_a_list_names_the_test_images(root: Path, style: str) -> None:
    for domain in KINDS:
        lines = [
            style.format(file=f"{kind}/{number}.png", domain=domain, label=3)
            for kind in ("cat", "dog") for number in (1, 4)
        ]  # fmt: skip
        (root / f"{domain}_test.txt").write_text("\n".join(lines) + "\n")
    stream = made(root, domains=["photo", "sketch"], test="{domain}_test.txt")
    assert values(stream.tasks[0].test) == [1, 4, 41, 44]
    assert values(stream.tasks[1].test) == [81, 84, 121, 124]
    assert len(stream.tasks[0].train) == 6


def test_another_list_is_another_copy(root: Path) -> None:
    chosen = root.parent / "test.txt"
    for number in (0, 3):
        chosen.write_text(f"cat/{number}.png\ndog/{number}.png\n")
        stream = folder(
            str(root / "photo"), shape=(1, 8, 8), data_dir=str(root.parent), tasks=1,
            validation=0.0, standardize="none", batch_size=2, test=str(chosen),
        )  # fmt: skip
        assert values(stream.tasks[0].test) == [number, 40 + number]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"domains": ["photo", "clip"]},
            r"data\.domains: clip is no folder in .*; there are",
        ),
        ({"test_domains": ["clip"]}, r"data\.test_domains: clip is no folder"),
        ({"domains": []}, r"data\.domains=\[\]: give at least one"),
        ({"domains": ["photo"], "test_domains": ["photo"]}, "photo is a test domain as well"),
        ({"test": "none.txt"}, r"data\.test=none\.txt: no such file, here, in"),
    ],
)
def test_refuses(root: Path, options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        made(root, **options)


def test_refuses_roots_that_are_not_there_and_lists_of_others(root: Path) -> None:
    options = {**OPTIONS, "data_dir": str(root.parent)}
    with pytest.raises(ValueError, match=r"data\.roots=nowhere: no such folder"):
        domains(["nowhere"], **options)
    with pytest.raises(ValueError, match=r"data\.roots=animals: give a list, \[animals\]"):
        domains("animals", **options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"data\.roots=\[\]: give at least one folder"):
        domains([], **options)
    with pytest.raises(ValueError, match=r"photo is in .*animals and in"):
        domains([str(root), "animals"], **options)
    (root / "photo_test.txt").write_text("cat/9.png 0\n")
    with pytest.raises(ValueError, match=r"names cat/9\.png, which is not in"):
        domains([str(root)], **options, test="{domain}_test.txt")


def test_superclasses_of_cifar100_hold_each_class_once() -> None:
    """In the order of the names of `aquatic_mammals`, `fish`, ...; the other way round likewise."""
    by_task = OmegaConf.load(FOLDER / "data/cifar100_superclasses.yaml").data.classes
    by_label = OmegaConf.load(FOLDER / "data/cifar100_coarse.yaml").data.classes
    assert np.array_equal(np.array(by_task).T, np.array(by_label))
    assert sorted(np.array(by_task).flatten()) == list(range(100))
    assert list(by_task[0]) == [4, 30, 55, 72, 95]
