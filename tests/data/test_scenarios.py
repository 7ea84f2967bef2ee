"""What the classes of the tasks make of a stream: shared labels, blurred boundaries."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lifelong.data import Task, TaskStream
from tests.conftest import images, toy_task


def stream(**options: Any) -> TaskStream:
    tasks = [toy_task(index, n=20 + index) for index in range(4)]
    return TaskStream(tasks, **({"name": "toy", "batch_size": 5, "shuffle_seed": 1} | options))


def places(made: TaskStream) -> list[list[tuple[int, int]]]:
    """Task and row of the training images of each visit."""
    return [
        list(zip(visit.train.t.tolist(), visit.train.row.tolist(), strict=True)) for visit in made
    ]


def test_shared_labels() -> None:
    made = stream(labels="shared")
    assert [task.classes for task in made.tasks] == [(0, 1, 2)] * 4
    assert torch.equal(made.tasks[2].train.y, stream().tasks[2].train.y)
    four = Task(4, "birds", tuple(range(4)), *(images(12, classes=4, task=4) for _ in range(3)))
    with pytest.raises(ValueError, match=r"labels=shared: task 1 has 3 classes and birds 4"):
        TaskStream([toy_task(0), four], name="toy", batch_size=5, labels="shared")


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_blurred_boundaries_show_each_image_once(share: float) -> None:
    found = places(stream(blurry=share))
    every = [place for visit in found for place in visit]
    assert sorted(every) == sorted(place for visit in places(stream()) for place in visit)
    for index, visit in enumerate(found):
        own = sum(task == index for task, _ in visit)
        assert own == 20 + index - round(share * (20 + index))
        others = [sum(task == other for task, _ in visit) for other in range(4) if other != index]
        assert max(others) - min(others) <= 1 + (share > 0.1)  # evenly, up to the tasks' sizes
    assert found == places(stream(blurry=share))
    assert found != places(stream(blurry=share, shuffle_seed=2))


def test_images_of_other_tasks_are_those_of_their_tasks() -> None:
    made = stream(blurry=0.3, order=[2, 1, 2], test_transform=None)
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
            stream(blurry=share)
    with pytest.raises(ValueError, match=r"data\.blurry=0\.5: there is one task alone"):
        stream(blurry=0.5, limit=1)
    with pytest.raises(ValueError, match=r"batch_size=18: task 2 of toy has only \d+ training"):
        stream(blurry=0.9, order=[1, 2, 2, 2, 2], batch_size=18)


def test_the_order_of_the_tasks_is_drawn() -> None:
    found = {seed: [task.name for task in stream(order_seed=seed).tasks] for seed in range(6)}
    assert len({tuple(names) for names in found.values()}) > 2
    made = stream(order_seed=3)
    assert sorted(name[-2] for name in found[3]) == ["1", "2", "3", "4"]  # task 2 (given as 1)
    assert found[3] == [task.name for task in stream(order_seed=3).tasks]
    for index, task in enumerate(made.tasks):
        assert task.index == index
        assert task.train.t.unique().tolist() == task.test.t.unique().tolist() == [index]
        same = stream().tasks[int(task.name[-2]) - 1]
        assert task.name.startswith(f"task {index + 1} ")
        assert task.classes == same.classes
        assert len(task.train) == len(same.train)
