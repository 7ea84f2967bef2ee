from __future__ import annotations

import torch

from lifelong.data import Images, TaskStream
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


def test_order_of_batches_is_a_function_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int, first: int = 0) -> list[int]:
        sampler = ShuffledBatchSampler(24, 5, False, seed, first)
        sampler.set_epoch(epoch)
        return torch.cat(list(sampler)).tolist()

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
        seen.add(tuple(torch.cat(list(made.train_dataloader().sampler)).tolist()))
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


def test_normalisation_of_a_batch() -> None:
    x = torch.randint(0, 256, (6, 2, 3, 3), dtype=torch.uint8)
    mean, std = torch.tensor([10.0, 20.0]), torch.tensor([2.0, 4.0])
    made = Images(x, torch.arange(6), torch.zeros(6).long(), mean, std)
    rows = torch.tensor([4, 1])
    batch = made[rows]
    expected = (x[rows].float() - mean.view(2, 1, 1)) / std.view(2, 1, 1)
    torch.testing.assert_close(batch.x, expected)
    assert batch.y.tolist() == [4, 1]


def test_joined_images_stay_on_their_device() -> None:
    """On the meta device, which computes nothing but says where a tensor is."""
    part = images(4).to(torch.device("meta"))
    joined = Images.joined([part, part])
    assert {t.device.type for t in (joined.x, joined.y, joined.scale, joined.shift)} == {"meta"}
    assert joined[torch.arange(3)].x.device.type == "meta"


def test_checksum_tells_streams_apart() -> None:
    torch.manual_seed(1)
    first = stream()
    torch.manual_seed(1)
    assert stream().checksum() == first.checksum()
    assert stream().checksum() != first.checksum()


def test_joined_images_keep_their_own_normalisation() -> None:
    parts = [images(4, task=0), images(3, task=1)]
    parts[1].scale = parts[1].scale * 2
    joined = Images.joined(parts)
    batch = joined[torch.arange(7)]
    assert torch.equal(batch.x[:4], parts[0][torch.arange(4)].x)
    assert torch.equal(batch.x[4:], parts[1][torch.arange(3)].x)
    assert batch.t.tolist() == [0, 0, 0, 0, 1, 1, 1]
