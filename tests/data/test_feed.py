"""Images that a round serves beside the task's."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from lifelong.data import Fed, Feed, TaskStream
from tests.conftest import images, toy_task


def noise(x: Tensor, generator: Generator) -> Tensor:
    return x + torch.rand(x.shape, generator=generator)


def stream(**feeds: Feed) -> TaskStream:
    tasks = [toy_task(index) for index in range(2)]
    made = TaskStream(tasks, name="toy", batch_size=6, shuffle_seed=1)
    made.serve(next(iter(made)), feeds=feeds)
    return made


def epoch(made: TaskStream, number: int = 0) -> list[Fed]:
    loader: Any = made.train_dataloader()
    loader.sampler.set_epoch(number)
    return list(loader)


def test_a_batch_of_each_comes_with_every_batch() -> None:
    made = stream(old=Feed(images(10, task=1), 4), more=Feed(images(7, task=0)))
    served = epoch(made)
    assert [len(each.batch.y) for each in served] == [6, 6, 6, 6]
    assert [len(each.feeds["old"].y) for each in served] == [4, 4, 2, 4]
    assert [len(each.feeds["more"].y) for each in served] == [6, 1, 6, 1]
    first = torch.cat([each.feeds["old"].row for each in served[:3]])
    assert sorted(first.tolist()) == list(range(10))
    assert all(each.feeds["old"].t.eq(1).all() for each in served)


def test_the_order_is_a_function_of_seed_round_epoch_and_name() -> None:
    pool = images(12)
    made = stream(a=Feed(pool), b=Feed(pool))

    def rows(name: str, number: int = 0) -> list[int]:
        return torch.cat([each.feeds[name].row for each in epoch(made, number)]).tolist()

    assert rows("a") == rows("a")
    assert rows("a", 1) == rows("a", 1) != rows("a")
    assert rows("a") != rows("b")
    assert Counter(rows("a")) == Counter(rows("b"))
    plain = [each.batch.row.tolist() for each in epoch(made)]
    assert plain == [batch.row.tolist() for batch in stream().train_dataloader()]


@pytest.mark.parametrize("augment", [True, False])
def test_they_are_augmented_anew_or_come_as_in_tests(augment: bool) -> None:
    pool = images(6)
    pool.augment = noise
    made = stream(old=Feed(pool, augment=augment))
    shown = [each.feeds["old"] for each in epoch(made)]
    ordered = [batch.x[batch.row.argsort()] for batch in shown]
    assert all(torch.equal(x, pool.x) != augment for x in ordered)
    assert torch.equal(ordered[0], ordered[1]) != augment
    again = [each.feeds["old"] for each in epoch(made)]
    assert all(torch.equal(one.x, other.x) for one, other in zip(shown, again, strict=True))


def test_images_are_made_when_the_training_begins() -> None:
    pools = [images(0), images(3)]
    made = stream(old=Feed(lambda: pools[-1]), none=Feed(lambda: pools[0]))
    assert set(epoch(made)[0].feeds) == {"old"}
    pools.append(images(5))
    assert len({row for each in epoch(made) for row in each.feeds["old"].row.tolist()}) == 5
    pools.append(images(0))
    assert not isinstance(epoch(made)[0], Fed)  # a batch alone
