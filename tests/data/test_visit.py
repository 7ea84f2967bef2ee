"""A task's turn in a stream."""

from __future__ import annotations

from dataclasses import replace

import torch

from lifelong.data import Visit
from tests.conftest import images, toy_task


def test_images_of_a_visit_are_its_tasks_unless_they_are_mixed() -> None:
    task = toy_task(1)
    plain = Visit(3, task, False)
    assert plain.train is task.train
    assert plain.tasks == (task,)
    mixed = images(7, task=0)
    other = replace(plain, mixed=mixed, others=(toy_task(0),))
    assert other.train is mixed
    assert [each.index for each in other.tasks] == [1, 0]


def test_a_visit_comes_back_from_its_description_without_images() -> None:
    visit = Visit(5, toy_task(1), True, mixed=images(4), others=(toy_task(0),))
    again = Visit.from_description(visit.description())
    assert (again.number, again.is_last, again.mixed) == (5, True, None)
    assert [task.index for task in again.tasks] == [1, 0]
    assert [task.classes for task in again.tasks] == [(3, 4, 5), (0, 1, 2)]
    assert [task.name for task in again.tasks] == ["task 2", "task 1"]
    assert not again.train.x.any()  # one black image, for the shape
    assert again.train.x.shape == (1, 2, 6, 6)
    assert torch.equal(again.task.train.scale, visit.task.train.scale)
