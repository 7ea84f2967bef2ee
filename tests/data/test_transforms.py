"""Changes of images as they are served, against torchvision and by hand."""

from __future__ import annotations

import random
from typing import Any

import kornia
import numpy as np
import pytest
import torch
from torch import Generator, Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tv

from lifelong.data import Images, Task, TaskStream
from lifelong.data.transforms import (
    CenterCrop,
    Flip,
    Library,
    Pad,
    RandomCrop,
    RandomResizedCrop,
    Transform,
    resized,
)


def chance(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def drawn(count: int, height: int = 16, width: int = 16) -> Tensor:
    return 255 * torch.rand(count, 3, height, width, generator=chance(9))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (40, 72), (72, 40), (300, 280)])
def test_center_crop_is_torchvisions(height: int, width: int) -> None:
    x = drawn(2, height, width)
    expected = tv.center_crop(tv.resize(x, [64], antialias=True), [56, 56])
    torch.testing.assert_close(CenterCrop(56, 64)(x, chance()), expected, atol=1e-3, rtol=0)
    assert resized(x, min(height, width)) is x


def test_flips_are_drawn_for_each_image() -> None:
    x = drawn(400)
    found = Flip()(x, chance())
    mirrored = (found == x.flip(3)).flatten(1).all(1)
    assert (mirrored | (found == x).flatten(1).all(1)).all()
    assert 150 < mirrored.sum() < 250


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("stored", "size"), [(torch.uint8, 12), (torch.float32, 20)])
def test_crops_are_those_of_plain_slices(channels: int, stored: torch.dtype, size: int) -> None:
    """Drawn in the order that seeds of earlier versions had, and laid out by image and pixel."""
    x = drawn(50)[:, :channels].to(stored)
    found = RandomCrop(size, padding=4)(x, chance(3))
    again, room = chance(3), 16 + 2 * 4 - size
    top, left = (torch.randint(0, room + 1, (50, 1), generator=again)[:, 0] for _ in range(2))
    mirrored = torch.rand(50, generator=again) < 0.5
    for image, whole, i, j, mirror in zip(
        found, Pad(4)(x, again), top.tolist(), left.tolist(), mirrored.tolist(), strict=True
    ):
        plain = whole[:, i : i + size, j : j + size]
        assert torch.equal(image, plain.flip(2) if mirror else plain)
    assert found.dtype == stored
    assert found.stride() == (size * size * channels, 1, size * channels, channels)


def test_random_crops_are_windows_of_the_padded_image() -> None:
    x = drawn(300)
    found = RandomCrop(16, padding=2, flip=False)(x, chance())
    windows = {
        (top, left): Pad(2)(x, chance())[:, :, top : top + 16, left : left + 16]
        for top in range(5) for left in range(5)
    }  # fmt: skip
    seen = dict.fromkeys(windows, 0)
    for index, image in enumerate(found):
        places = [place for place, window in windows.items() if torch.equal(window[index], image)]
        assert len(places) == 1
        seen[places[0]] += 1
    assert min(seen.values()) > 0
    mirrored = RandomCrop(16, padding=2)(x, chance())
    assert 100 < (mirrored == found).flatten(1).all(1).sum() < 200
    assert RandomCrop(8, resize=12)(x, chance()).shape == (300, 3, 8, 8)


@pytest.mark.parametrize(("height", "width"), [(20, 20), (12, 30)])
def test_resized_crops_are_torchvisions_of_the_same_boxes(height: int, width: int) -> None:
    x = drawn(40, height, width)
    crop = RandomResizedCrop(32, flip=False)
    found = crop(x, chance(4))
    boxes = torch.cat(crop.boxes(height, width, 40, chance(4)), 1).int().tolist()
    for image, out, (top, left, h, w) in zip(x, found, boxes, strict=True):
        assert 0 <= top <= top + h <= height
        assert 0 <= left <= left + w <= width
        expected = tv.resized_crop(image, top, left, h, w, [32, 32], antialias=False)
        torch.testing.assert_close(out, expected, atol=2e-2, rtol=0)


def test_boxes_are_mirrored_as_their_pixels_would_be() -> None:
    x, again = drawn(40), chance(5)
    plain = RandomResizedCrop(24, flip=False)(x, again)
    mirrored = torch.rand(40, generator=again) < 0.5
    expected = torch.where(mirrored.view(-1, 1, 1, 1), plain.flip(3), plain)
    assert torch.equal(RandomResizedCrop(24)(x, chance(5)), expected)


def test_boxes_have_the_shares_and_ratios_asked_for() -> None:
    crop = RandomResizedCrop(8, scale=(0.2, 0.5), ratio=(0.5, 2.0))
    _, _, height, width = crop.boxes(200, 200, 4000, chance())
    area = height * width / 200**2
    assert 0.19 < area.min() < 0.22
    assert 0.48 < area.max() < 0.51
    assert abs(area.mean() - 0.35) < 0.01
    assert abs((width / height).log().mean()) < 0.03
    # Where no box fits, the largest in the middle whose ratio is allowed.
    top, left, height, width = RandomResizedCrop(8, scale=(1, 1), ratio=(1, 1)).boxes(
        10, 40, 3, chance()
    )
    assert torch.stack([top, left, height, width])[:, 0, 0].tolist() == [0, 15, 10, 10]


def stream(**transforms: Transform | None) -> TaskStream:
    x = (255 * torch.rand(12, 3, 8, 8, generator=chance(1))).byte()
    parts = [
        Images(x, torch.arange(12) % 2, torch.zeros(12).long(), std=torch.full((3,), 255.0))
        for _ in range(3)
    ]
    task = Task(0, "task 1", (0, 1), parts[0], parts[1], parts[2])
    return TaskStream([task], name="toy", batch_size=5, **transforms)  # type: ignore[arg-type]


def test_training_is_under_one_transform_and_everything_else_under_the_other() -> None:
    made = stream(train_transform=RandomCrop(6), test_transform=CenterCrop(4, 8))
    made.serve(made.visits[0])
    assert [batch.x.shape[2] for batch in made.train_dataloader()] == [6, 6, 6]
    visit = made.visits[0]
    for images in (visit.train, visit.task.val, visit.task.test):
        assert next(iter(made.loader(images))).x.shape[2] == 4
    plain = stream().visits[0].task.test[torch.arange(12)].x
    assert torch.equal(visit.task.test[torch.arange(12)].x, plain[:, :, 2:6, 2:6])


def test_an_epoch_draws_the_same_whatever_was_drawn_before() -> None:
    """What makes resuming exact: the draw is a function of seed, task, round and epoch."""
    made = stream(train_transform=RandomCrop(6))

    def epochs(first: int, count: int) -> list[Tensor]:
        made.serve(made.visits[0], first_epoch=first)
        loader: Any = made.train_dataloader()
        found = []
        for epoch in range(count):
            loader.sampler.set_epoch(epoch)
            found.append(torch.cat([batch.x for batch in loader]))
        return found

    whole = epochs(0, 3)
    torch.rand(7)
    assert torch.equal(epochs(2, 1)[0], whole[2])
    assert not torch.equal(whole[0], whole[1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CenterCrop(0, 8), "size=0: give 1 or more"),
        (lambda: CenterCrop(9, 8), "resize=8: give 9 or more"),
        (lambda: Pad(-1), "padding=-1"),
        (lambda: RandomResizedCrop(8, scale=(0, 1)), r"scale=\[0, 1\]"),
        (lambda: RandomCrop(32)(drawn(1), chance()), r"size=32: the images are \[16, 16\]"),
    ],
)
def test_refuses(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def numpys_state() -> list[int]:
    return np.random.get_state()[1].tolist()  # noqa: NPY002


def rotation() -> Library:
    return Library([v2.RandomRotation(30), v2.RandomErasing(p=0.5)])


def test_transforms_of_torchvision_draw_for_each_image_from_the_streams_generator() -> None:
    x = drawn(1).repeat(20, 1, 1, 1)
    before = torch.random.get_rng_state(), random.getstate(), numpys_state()
    first, again = rotation()(x, chance()), rotation()(x, chance())
    assert torch.equal(first, again)
    assert not torch.equal(first, rotation()(x, chance(1)))
    assert len(first.unique(dim=0)) > 15
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert (before[1], before[2]) == (random.getstate(), numpys_state())


def test_transforms_of_torchvision_see_bytes_and_give_stored_units() -> None:
    x = torch.tensor([0.0, 100.0, 255.0]).view(1, 3, 1, 1).repeat(2, 1, 1, 1)
    assert torch.equal(Library([v2.RandomInvert(p=1.0)])(x, chance()), 255 - x)
    assert Library([v2.RandomInvert(p=1.0)])(x[:0], chance()).shape == x[:0].shape  # no memory yet


def test_transforms_of_kornia_draw_for_each_image() -> None:
    flip = Library([kornia.augmentation.RandomHorizontalFlip(p=0.5)])
    x = drawn(100)
    found = flip(x, chance())
    flipped = (found - x.flip(3)).abs().flatten(1).amax(1) < 1e-3
    assert 30 < flipped.sum() < 70
    torch.testing.assert_close(found[~flipped], x[~flipped])
    assert torch.equal(found, flip(x, chance()))


def test_ones_own_are_asked_image_by_image_or_with_batches() -> None:
    def shifted(image: Tensor) -> Tensor:
        assert 0 <= image.min() <= image.max() <= 1
        more = torch.rand(()) + np.random.rand() + random.random()  # noqa: NPY002
        return image + float(more)

    x = torch.full((4, 1, 2, 2), 255.0)
    assert len(Library([shifted])(x, chance()).unique()) == 4
    assert len(Library([shifted], each=False)(x, chance()).unique()) == 1


def test_library_refuses() -> None:
    with pytest.raises(ValueError, match=r"transforms=\[\]: give callables"):
        Library([])
    with pytest.raises(ValueError, match=r"transforms=\[None\]: give callables"):
        Library([None])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="the transform Grayscale made"):
        Library([v2.Grayscale()])(drawn(2), chance())
