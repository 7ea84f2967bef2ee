"""Streams of tasks: their batches, their order, shared labels and blurred boundaries."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from lifelong.data import Task, TaskStream
from lifelong.data.feed import ShuffledBatchSampler
from tests.conftest import images, toy_task


def stream(**options: object) -> TaskStream:
    tasks = [toy_task(index) for index in range(3)]
    return TaskStream(tasks, **({"name": "toy", "batch_size": 5, "shuffle_seed": 1} | options))  # type: ignore[arg-type]


def test_batches_cover_an_epoch() -> None:
    batches = list(stream().train_dataloader())
    assert [len(batch.y) for batch in batches] == [5, 5, 5, 5, 4]
    whole = [len(batch.y) for batch in stream(drop_last=True).train_dataloader()]
    assert whole == [5, 5, 5, 5]
    few = ShuffledBatchSampler(images(4), 5, True, 1, 0)  # such as what a memory holds
    assert [len(rows.host) for rows in few] == [4]
    assert len(few) == 1


def test_order_of_batches_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int, first: int = 0) -> list[int]:
        sampler = ShuffledBatchSampler(images(24), 5, False, seed, first)
        sampler.set_epoch(epoch)
        return torch.cat([rows.host for rows in sampler]).tolist()

    assert order(1, 3) == order(1, 3) == order(1, 1, first=2)
    assert order(1, 3) != order(1, 4)
    assert order(1, 3) != order(2, 3)
    assert sorted(order(1, 3)) == list(range(24))


def test_order_differs_between_tasks_and_rounds() -> None:
    made = stream()
    first, second = list(made)[:2]
    seen = set()
    for visit, number in ((first, 0), (first, 1), (second, 0)):
        made.serve(visit, number=number)
        seen.add(tuple(torch.cat([rows.host for rows in made.train_dataloader().sampler]).tolist()))
    assert len(seen) == 3


def test_loaders_do_not_touch_the_global_generator() -> None:
    made = stream()
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    list(made.train_dataloader())
    list(made.val_dataloader())
    assert torch.equal(torch.rand(1), expected)


def test_visits() -> None:
    made = stream(order=[1, 2, 1, 3], limit=3)
    assert [visit.task.index for visit in made] == [0, 1, 0]
    assert [visit.number for visit in made] == [1, 2, 3]
    assert [visit.is_last for visit in made] == [False, False, True]
    assert len(made.tasks) == 2


def test_checksum_tells_streams_apart() -> None:
    torch.manual_seed(1)
    first = stream()
    torch.manual_seed(1)
    assert stream().checksum() == first.checksum()
    assert stream().checksum() != first.checksum()


def of_four(**options: Any) -> TaskStream:
    tasks = [toy_task(index, n=20 + index) for index in range(4)]
    return TaskStream(tasks, **({"name": "toy", "batch_size": 5, "shuffle_seed": 1} | options))


def places(made: TaskStream) -> list[list[tuple[int, int]]]:
    """Task and row of the training images of each visit."""
    return [
        list(zip(visit.train.t.tolist(), visit.train.row.tolist(), strict=True)) for visit in made
    ]


def test_shared_labels() -> None:
    made = of_four(labels="shared")
    assert [task.classes for task in made.tasks] == [(0, 1, 2)] * 4
    assert torch.equal(made.tasks[2].train.y, of_four().tasks[2].train.y)
    four = Task(1, "birds", tuple(range(4)), *(images(12, classes=4, task=1) for _ in range(3)))
    with pytest.raises(ValueError, match=r"labels=shared: task 1 has 3 classes and birds 4"):
        TaskStream([toy_task(0), four], name="toy", batch_size=5, labels="shared")


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_blurred_boundaries_show_each_image_once(share: float) -> None:
    found = places(of_four(blurry=share))
    every = [place for visit in found for place in visit]
    assert sorted(every) == sorted(place for visit in places(of_four()) for place in visit)
    for index, visit in enumerate(found):
        own = sum(task == index for task, _ in visit)
        assert own == 20 + index - round(share * (20 + index))
        others = [sum(task == other for task, _ in visit) for other in range(4) if other != index]
        assert max(others) - min(others) <= 1 + (share > 0.1)  # evenly, up to the tasks' sizes
    assert found == places(of_four(blurry=share))
    assert found != places(of_four(blurry=share, shuffle_seed=2))


def test_images_of_other_tasks_are_those_of_their_tasks() -> None:
    made = of_four(blurry=0.3, order=[2, 1, 2], test_transform=None)
    visit = made.visits[0]
    assert [task.index for task in visit.tasks] == [1, 0]
    for place in range(len(visit.train)):
        task, row = int(visit.train.t[place]), int(visit.train.row[place])
        assert torch.equal(visit.train.x[place], made.tasks[task].train.x[row])
        assert visit.train.y[place] == made.tasks[task].train.y[row]
    made.serve(visit)
    batches = list(made.train_dataloader())
    assert any(len(batch.t.unique()) == 2 for batch in batches)
    assert sum(len(batch.y) for batch in batches) == len(visit.train)


def test_what_is_refused() -> None:
    for share in (-0.1, 1.0):
        with pytest.raises(ValueError, match=r"data\.blurry=.*: give a share from 0 to below 1"):
            of_four(blurry=share)
    with pytest.raises(ValueError, match=r"data\.blurry=0\.5: there is one task alone"):
        of_four(blurry=0.5, limit=1)
    with pytest.raises(ValueError, match=r"batch_size=18: task 2 of toy has only \d+ training"):
        of_four(blurry=0.9, order=[1, 2, 2, 2, 2], batch_size=18)


@pytest.mark.parametrize(("names", "told"), [
    ([("ant", "bee", "cat"), ("ant", "bee", "dog")], "task 1 has the classes ant, bee, cat, and"),
    ([("ant", "bee", "cat"), ("bee", "cat", "ant")], "task 2 bee, cat, ant: label i would not be"),
])  # fmt: skip
def test_a_class_under_two_labels_is_not_shared(names: Any, told: str) -> None:
    tasks = [replace(toy_task(i), class_names=each) for i, each in enumerate(names)]
    with pytest.raises(ValueError, match=f"data.labels=shared: .*{told}"):
        TaskStream(tasks, batch_size=5, labels="shared")
    third = replace(toy_task(2), class_names=("z", "y", "x"))
    with pytest.raises(ValueError, match="task 2 has the classes x, y, z, and task 3 z, y, x"):
        TaskStream(
            [tasks[0], replace(tasks[1], class_names=("x", "y", "z")), third],
            batch_size=5, labels="shared",
        )  # fmt: skip
    apart = [replace(tasks[0]), replace(tasks[1], class_names=("x", "y", "z"))]
    assert TaskStream(apart, batch_size=5, labels="shared").tasks[1].class_names[0] == "label 0"


def _wrong(part: str, **values: Any) -> list[Task]:
    tasks = [toy_task(0), toy_task(1)]
    for name, value in values.items():
        setattr(getattr(tasks[1], part), name, value)
    return tasks


@pytest.mark.parametrize(("tasks", "message"), [
    (lambda: [toy_task(1), toy_task(0)], "task 2: has index 1; number tasks from 0"),
    (lambda: _wrong("test", t=torch.zeros(12).long()), "task 2: test has t=0; give .* 1"),
    (lambda: _wrong("train", y=torch.arange(24) % 4), "train has labels from 0 to 3; .* 3 classes"),
    (lambda: _wrong("val", y=torch.arange(12) % 3 - 1), "val has labels from -1 to 1"),
    (lambda: _wrong("train", y=torch.zeros(24)), "train has labels of torch.float32"),
    (lambda: _wrong("test", x=torch.zeros(12, 5, 6, 6)), r"test has images \(5, 6, 6\); .* \(2, 6"),
    (lambda: [toy_task(0), replace(toy_task(1), test=toy_task(1).val.part(torch.arange(0)))],
     "test has no images"),
])  # fmt: skip
def test_tasks_of_ones_own_are_checked(tasks: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TaskStream(tasks(), batch_size=5)


def test_the_order_of_the_tasks_is_drawn() -> None:
    found = {seed: [task.name for task in of_four(order_seed=seed).tasks] for seed in range(6)}
    assert len({tuple(names) for names in found.values()}) > 2
    made = of_four(order_seed=3)
    assert sorted(name[-2] for name in found[3]) == ["1", "2", "3", "4"]  # task 2 (given as 1)
    assert found[3] == [task.name for task in of_four(order_seed=3).tasks]
    for index, task in enumerate(made.tasks):
        assert task.index == index
        assert task.train.t.unique().tolist() == task.test.t.unique().tolist() == [index]
        same = of_four().tasks[int(task.name[-2]) - 1]
        assert task.name.startswith(f"task {index + 1} ")
        assert task.classes == same.classes
        assert len(task.train) == len(same.train)
