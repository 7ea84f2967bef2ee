"""Streams that divide the classes of one data set into tasks (LASEM spec, check 15)."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from lifelong.configuration.compose import FOLDER
from lifelong.data import TaskStream, by_class, folder
from lifelong.data.sources import digits
from lifelong.data.sources.arrays import from_arrays
from lifelong.data.sources.source import Source
from tests.conftest import execute, results_of
from tests.data.painted import paint, painted

NAMES = [f"class_{number:02d}" for number in range(100)]


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


QUICK = ["data=digits", "epochs=1", "batch_size=16", "data.fraction=0.2", "logger=none"]
QUICK += ["trainer=cpu"]


TWICE = "data.classes: task 1 has the class 0 twice; give each class once"


EMPTY = "data.classes: task {} has no class; give it one, or leave it out"


def split(classes: Any) -> TaskStream:
    options: Any = {"name": "digits", "batch_size": 4, "shuffle_seed": 1}
    return by_class(digits(), shape=(1, 8, 8), classes=classes, **options)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([[0, 0], [1, 2]], TWICE),
        ([[0, 3, 0], [1, 2, 4]], TWICE),
        ([["0", 0], [1, 2]], TWICE.replace("the class 0", "the class (0|'0')")),
        ([[1, 2], [5, 4, 5]], "data.classes: task 2 has the class 5 twice"),
        ([[], [1, 2]], EMPTY.format(1)),
        ([[1, 2], []], EMPTY.format(2)),
        ([[0, 1], [2, 10]], "data.classes: 10 is no class of digits"),
        ([[0, 1], [2, "ten"]], "data.classes: ten is no class of digits"),
        ([[0, -1], [2, 3]], "data.classes: -1 is no class of digits"),
    ],
)
def test_tasks_that_cannot_be(classes: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split(classes)


def test_labels_follow_the_order_that_is_given() -> None:
    """A class of two tasks brings the same images to both, under the label of each."""
    first, second = split([[3, 8], [5, 3, 1]]).tasks
    assert (first.classes, second.classes) == ((3, 8), (5, 3, 1))
    for part in ("train", "val", "test"):
        one, other = getattr(first, part), getattr(second, part)
        assert one.x[one.y == 0].equal(other.x[other.y == 1])
        assert len(one.y.unique()) == 2
        assert len(other.y.unique()) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("data.classes=[[0,0],[1,2]]", TWICE),
        ("data.classes=[[],[1,2]]", EMPTY.format(1)),
        (
            "heads=single data.classes=[[0,1],[1,2]]",
            "data.classes: class 1 is label 1 of task 1 and label 0 of task 2, and a single head",
        ),
        (
            "heads=single data.classes=[[0,1],[2,1],[1,3]]",
            "data.classes: class 1 is label 1 of task 1 and label 0 of task 3",
        ),
        ("heads=single data.classes=[[0,1],[1,0]] data.standardize=split", "data.classes: class"),
        ("heads=single data.classes=[[0,1],[1,2]] strategy=er", "data.classes: class 1 is label"),
        (
            "strategy=cil data.classes=[[0,1],[1,2]]",
            "data.classes: class 1 belongs to two tasks, and CIL tells the classes of all tasks",
        ),
        ("strategy=cil data.classes=[[0,1],[2,1]]", "data.classes: class 1 belongs to two tasks"),
        (
            "strategy=tickets_td data.classes=[[4,1],[2,3],[1,5]]",
            "data.classes: class 1 belongs to two tasks, and TicketsTD",
        ),
    ],
)
def test_what_is_refused(
    tmp_path: Path, options: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(tmp_path, *QUICK, "strategy=finetune", *options.split()) == 2
    assert f"error: {message}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "options",
    [
        "heads=multi data.classes=[[0,1],[1,2]]",
        "heads=matrix data.classes=[[0,1],[1,2]]",
        "heads=single data.classes=[[0,1],[2,1]]",  # under the same label
        "heads=single data.classes=[[0,1],[2,3],[1,0]] tasks=2",  # the third is not met
        "strategy=cil data.classes=[[0,1],[2,3]] data.order=[1,2,1]",  # one task twice
    ],
)
def test_what_is_learned(tmp_path: Path, options: str) -> None:
    assert execute(tmp_path, *QUICK, "strategy=finetune", *options.split()) == 0
    assert results_of(tmp_path)["status"] == "finished"


def made(root: Path, **options: Any) -> Any:
    values = {"shape": [3, 8, 8], "name": "mine", "batch_size": 2, "tasks": 2} | options
    return folder(str(root), data_dir=str(root.parent), **values)


def test_a_folder_is_divided_by_classes(tmp_path: Path) -> None:
    stream = made(painted(tmp_path / "mine"), validation=0.2, seed=3)
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3)]
    assert [len(stream.tasks[0].train), len(stream.tasks[0].val)] == [16, 4]
    shuffled = made(tmp_path / "mine", shuffle_classes=True, seed=3)
    assert sorted(label for task in shuffled.tasks for label in task.classes) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("prepare", "options", "message"),
    [
        (lambda root: None, {}, "no such folder or zip file"),
        (lambda root: root.mkdir(), {}, "holds no images"),
        (lambda root: paint(root / "a.png", 1), {}, "found neither train"),
        (painted, {"tasks": 5}, "data.tasks=5: mine has 4 classes"),
        (lambda root: painted(root, ("",)), {"test": 1.5}, "data.test=1.5"),
        (lambda root: bad_image(painted(root)), {}, "is not a readable image"),
        (lambda root: listed(painted(root)), {"test": "list.txt"}, "has a folder of test images"),
    ],
)
def test_folders_that_are_refused(
    tmp_path: Path, prepare: Any, options: dict[str, Any], message: str
) -> None:
    root = tmp_path / "mine"
    prepare(root)
    with pytest.raises(ValueError, match=message):
        made(root, **options)


def listed(root: Path) -> None:
    (root / "list.txt").write_text("train/class 0/00.png\n")


def bad_image(root: Path) -> None:
    (root / "train" / "class 0" / "00.png").write_bytes(b"no image")


def test_an_unreadable_zip(tmp_path: Path) -> None:
    path = tmp_path / "mine.zip"
    path.write_bytes(b"PK no zip")
    with pytest.raises(ValueError, match="not a readable zip file"):
        made(path)


def test_a_class_without_test_images_is_told() -> None:
    """Of one's own arrays, where folders refuse it: the accuracy says nothing of that class."""
    x, y = np.zeros((24, 4, 4), np.uint8), np.arange(24) % 4
    known = from_arrays((x, y), (x[:9], np.arange(9) % 3))
    assert by_class(known, tasks=2, batch_size=4).note == "no test images of the class 3"
    assert by_class(known, classes=[[0, 1], [2, 1]], batch_size=4).note == ""
    with pytest.raises(ValueError, match="no test images for the classes of task 2"):
        by_class(known, classes=[[0, 1], [3]], batch_size=4)
