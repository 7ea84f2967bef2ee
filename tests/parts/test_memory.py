"""Memories: reservoir and rings (TAG spec, check 9.11), balanced sets, exemplars."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from lifelong.data import Batch, Images, Task
from lifelong.parts.memory import Balanced, Exemplars, Memory, Reservoir, RingBuffer
from tests.conftest import toy_visit

MANY = 1000  # images of a task


def numbered(first: int, count: int, task: int = 0) -> Batch:
    """Images whose pixels are their number in the stream."""
    rows = torch.arange(first, first + count)
    return parts(task)[rows]


def parts(index: int) -> Images:
    numbers = torch.arange(MANY)
    x = numbers.float().view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return Images(x, numbers % 3, torch.full((MANY,), index))


def task(index: int = 0) -> Task:
    classes = (3 * index, 3 * index + 1, 3 * index + 2)
    return Task(index, "", classes, *(parts(index) for _ in range(3)))


def begun(made: Any, tasks: int = 2) -> Any:
    for index in range(tasks):
        made.meet(task(index))
    return made


def reservoir(size: int, **options: Any) -> Reservoir:
    made: Reservoir = begun(Reservoir(size, **options))
    return made


def contents(made: Memory) -> list[int]:
    """The numbers of the images kept, in the order of the slots."""
    return numbers(made.sample()[0].x)


def numbers(x: Tensor) -> list[int]:
    return [int(value) for value in x[:, 0, 0, 0]]


@pytest.mark.parametrize("batchwise", [False, True])
def test_the_first_images_fill_it_in_order(batchwise: bool) -> None:
    made = reservoir(10, batchwise=batchwise)
    for first in range(0, 9, 3):
        made.add(numbered(first, 3))
    assert contents(made) == list(range(9))
    made.add(numbered(9, 3))
    assert len(made) == 10
    assert contents(made)[9] == 9 or made.seen == 12  # the tenth may be replaced already
    for first in range(12, 600, 3):
        made.add(numbered(first, 3, task=1))
        assert len(made) == 10
    kept, _ = made.sample()
    assert kept.y.tolist() == [value % 3 for value in numbers(kept.x)]
    assert kept.t.tolist() == [int(value >= 12) for value in numbers(kept.x)]
    assert kept.row.tolist() == numbers(kept.x)


@pytest.mark.parametrize(
    ("size", "batch", "batchwise", "expected"),
    [
        (40, 10, False, [1, 1, 1, 1, 1]),
        (50, 64, False, [1, 1, 1, 1, 1]),
        (40, 4, True, [1, 1, 1, 1, 1]),
        (50, 64, True, [0.87, 1.02, 1.04, 1.04, 1.03]),
    ],
)
def test_inclusion_frequencies(
    size: int, batch: int, batchwise: bool, expected: list[float]
) -> None:
    """Over fifths of a stream of 1000, as shares of size / n."""
    kept, images = torch.zeros(MANY), parts(0)
    batches = [images[rows] for rows in torch.arange(MANY).split(batch)]
    trials = 400
    for _ in range(trials):
        made = reservoir(size, batchwise=batchwise)
        for each in batches:
            made.add(each)
        kept[made.rows] += 1
    shares = kept.view(5, 200).mean(1) / trials / (size / MANY)
    assert shares.tolist() == pytest.approx(expected, abs=0.05)


def test_samples_are_distinct_and_leave_a_task_out() -> None:
    made = reservoir(20)
    made.add(numbered(0, 8, task=0))
    made.add(numbered(8, 8, task=1))
    drawn, _ = made.sample(10)
    assert len(set(numbers(drawn.x))) == 10
    old, _ = made.sample(10, without=1)
    assert sorted(numbers(old.x)) == list(range(8))
    assert old.t.tolist() == [0] * 8
    assert made.sample(10, of=1)[0].t.tolist() == [1] * 8
    assert len(reservoir(5).sample(3)[0].y) == 0


def test_rings_keep_the_latest_of_each_class() -> None:
    made = begun(RingBuffer(2), 1)
    made.add(numbered(0, 9))  # 0 3 6, 1 4 7, 2 5 8 by class
    assert len(made.sample(10, without=0)[0].y) == 0
    drawn, _ = made.sample(10, without=1)
    assert sorted(numbers(drawn.x)) == [3, 4, 5, 6, 7, 8]
    assert drawn.y.tolist() == [value % 3 for value in numbers(drawn.x)]
    assert len(set(numbers(made.sample(4, without=1)[0].x))) == 4
    made.meet(task(1))
    made.add(numbered(0, 3, task=1))
    assert made.sample()[0].t.tolist() == [0] * 6 + [1] * 3


def test_a_balanced_memory_has_as_many_of_each_class() -> None:
    made = begun(Balanced(12))
    for first in range(0, 60, 3):
        made.add(numbered(first, 3))
    assert torch.bincount(made.numbers).tolist() == [4, 4, 4]
    for first in range(0, 60, 3):
        made.add(numbered(first, 3, task=1))
    assert torch.bincount(made.numbers).tolist() == [2] * 6
    kept, _ = made.sample()
    assert (3 * kept.t + kept.y).tolist() == made.numbers.tolist()


@pytest.mark.parametrize("make", [partial(RingBuffer, 4), partial(Balanced, 12)])
def test_an_image_that_is_kept_is_not_kept_again(make: Any) -> None:
    """Over epochs and in one batch, also when a stopped run goes on."""
    made = begun(make())
    for epoch in range(3):
        if epoch == 2:
            state, made = made.get_extra_state(), begun(make())
            made.set_extra_state(state)
        for first in (0, 3, 6, 6):
            made.add(numbered(first, 3))
    assert sorted(numbers(made.sample()[0].x)) == list(range(9))
    made.add(numbered(9, 9))
    assert len(set(contents(made))) == len(made) == 12


def test_a_balanced_memory_of_fewer_images_than_classes_lets_each_in() -> None:
    made = begun(Balanced(2))
    for index in (0, 1):
        made.add(numbered(0, 3, task=index))
    assert set(made.numbers.tolist()) & {3, 4, 5}


def test_exemplars_in_the_order_in_which_they_are_wanted() -> None:
    made = Exemplars()
    first, second = task(0), task(1)
    made.keep(first, torch.tensor([9, 6, 4, 1, 3]), note=torch.arange(5.0))
    made.keep(second, torch.tensor([2, 8]), note=torch.arange(2.0))
    assert numbers(made.images([1, 0]).x) == [2, 8, 9, 6, 4, 1, 3]
    assert made.images([0]).row.tolist() == [9, 6, 4, 1, 3]
    batch, extras = made.shrink(1).sample()
    assert numbers(batch.x) == [9, 4, 2]
    assert extras["note"].tolist() == [0, 2, 0]


def test_what_is_kept_beside_an_image_stays_with_it() -> None:
    made = reservoir(7)
    for first in range(0, 90, 5):
        batch = numbered(first, 5)
        made.add(batch, logits=torch.stack([batch.row.float(), -batch.row.float()], 1))
    batch, extras = made.sample(5)
    assert extras["logits"].tolist() == [[row, -row] for row in batch.row.tolist()]
    assert made.nbytes == 7 * 4 * 4 + 7 * 2 * 4


def test_images_are_augmented_anew_or_shown_as_in_tests() -> None:
    def noise(x: Tensor, generator: Generator) -> Tensor:
        return x + torch.rand(x.shape, generator=generator)

    met = task()
    met.train.augment = noise
    made = Reservoir(4)
    made.meet(met)
    made.add(met.train[torch.arange(4)])
    assert contents(made) == [0, 1, 2, 3]
    plain, _ = made.sample(augment=False)
    assert torch.equal(plain.x, plain.x.round())
    one, other = (made.sample()[0].x for _ in range(2))
    assert not torch.equal(one, other)
    assert torch.equal(one.floor(), plain.x)


def test_images_of_tasks_keep_their_own_normalisation() -> None:
    one, other = task(0), task(1)
    other.train.scale, other.train.shift = other.train.scale / 2, other.train.shift + 7
    made = Reservoir(8)
    for each in (one, other):
        made.meet(each)
        made.add(each.train[torch.arange(4)])
    kept, _ = made.sample()
    for each in (one, other):
        assert torch.equal(kept.x[kept.t == each.index], each.train[torch.arange(4)].x)


@pytest.mark.parametrize(
    "kind", [lambda: Reservoir(4), lambda: RingBuffer(4), lambda: Balanced(4)],
    ids=["reservoir", "rings", "balanced"],
)  # fmt: skip
def test_a_saved_memory_goes_on(kind: Any) -> None:
    one, two = begun(kind()), begun(kind())
    batch = numbered(0, 9)
    one.add(batch, logits=batch.x[:, 0, 0])
    two.load_state_dict(one.state_dict())
    drawn = []
    for made in (one, two):
        torch.manual_seed(1)
        batch = numbered(9, 5, task=1)
        made.add(batch, logits=batch.x[:, 0, 0])
        drawn.append(made.sample(6, without=1))
    assert len(one) == len(two)
    (batch, extras), (other, others) = drawn
    assert all(torch.equal(*pair) for pair in zip(batch, other, strict=True))
    assert torch.equal(extras["logits"], others["logits"])
    assert torch.equal(extras["logits"][:, 0], batch.x[:, 0, 0, 0])


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"strategy\.memory=0"):
        Reservoir(0)
    with pytest.raises(ValueError, match=r"strategy\.memory=0"):
        Balanced(0)
    with pytest.raises(ValueError, match=r"strategy\.per_class=0"):
        RingBuffer(0)


def test_what_is_kept_beside_images_keeps_its_type_and_may_grow_wider() -> None:
    visit = toy_visit(0)
    memory = Reservoir(4)
    memory.begin_task(visit)
    memory.add(visit.train[torch.arange(2)], z=torch.full((2, 2), 1 / 3))
    memory.add(visit.train[torch.arange(2, 4)], z=torch.ones(2, 3, dtype=torch.bfloat16))
    _, kept = memory.sample()
    assert kept["z"].dtype == torch.float32
    assert torch.equal(kept["z"][:2, :2], torch.full((2, 2), 1 / 3))
    assert kept["z"][:2, 2].isnan().all()
    assert torch.equal(kept["z"][2:], torch.ones(2, 3))
