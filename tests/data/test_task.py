"""Images, their normalisation and their joining."""

from __future__ import annotations

import pytest
import torch

from lifelong.data import Images
from lifelong.data.transforms import (
    CenterCrop,
    Flip,
    Pad,
    RandomCrop,
    RandomResizedCrop,
    Transform,
)
from tests.conftest import images


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


def test_joined_images_keep_their_own_normalisation() -> None:
    parts = [images(4, task=0), images(3, task=1)]
    parts[1].scale = parts[1].scale * 2
    joined = Images.joined(parts)
    batch = joined[torch.arange(7)]
    assert torch.equal(batch.x[:4], parts[0][torch.arange(4)].x)
    assert torch.equal(batch.x[4:], parts[1][torch.arange(3)].x)
    assert batch.t.tolist() == [0, 0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("stored", [torch.uint8, torch.float32])
@pytest.mark.parametrize(
    "transform", [None, Flip(), Pad(2), RandomCrop(8, 2), CenterCrop(6, 6), RandomResizedCrop(8)]
)
def test_batches_are_those_of_plain_operations(
    channels: int, stored: torch.dtype, transform: Transform | None
) -> None:
    """To the last bit, and in the same layout; under one mean and deviation, and under each own."""
    x = (255 * torch.rand(20, channels, 8, 8)).to(stored)
    mean, std = torch.rand(channels) * 100, torch.rand(channels) * 50 + 1
    alike = Images(x, torch.arange(20), torch.zeros(20).long(), mean, std)
    other = Images(x, torch.arange(20), torch.ones(20).long(), mean + 1, std)
    own = Images.joined([alike, other])
    rows = torch.tensor([3, 19, 0, 7, 7])
    for some in (alike, own, alike):
        found = some.get_batch(some.rows(rows), transform, torch.Generator().manual_seed(1)).x
        plain = x[rows].float()
        if transform is not None:
            plain = transform(plain, torch.Generator().manual_seed(1))
        shift, scale = (m if m.dim() == 3 else m[rows] for m in (some.shift, some.scale))
        expected = torch.addcmul(shift, plain, scale)
        assert torch.equal(found, expected)
        assert found.stride() == expected.stride()
    alike.scale = alike.scale * 2  # a new mean and deviation act at once
    again = alike[rows].x
    assert torch.equal(again, torch.addcmul(alike.shift, x[rows].float(), alike.scale))


def test_a_transform_that_stands_on_ours_is_given_floats() -> None:
    """As it always was; bytes are for those that say so themselves."""
    seen = []

    class Brighter(Flip):
        def __call__(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            seen.append(x.dtype)
            return super().__call__(x, generator).mul_(1.5)

    class OfBytes(Brighter):
        takes_stored = True

        def __call__(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
            return super().__call__(x, generator).clamp_(max=9)

    some = Images(torch.zeros(4, 1, 2, 2).byte(), torch.arange(4), torch.zeros(4).long())
    some.get_batch(some.rows(torch.arange(2)), Brighter(), torch.Generator())
    assert seen == [torch.float32]
    with pytest.raises(RuntimeError, match="can't be cast"):
        some.get_batch(some.rows(torch.arange(2)), OfBytes(), torch.Generator())
    assert seen == [torch.float32, torch.uint8]


@pytest.mark.parametrize(
    ("shape", "device", "many"),
    [
        ((1, 8, 8), "cpu", 500), ((1, 28, 28), "cpu", 334), ((3, 32, 32), "cpu", 85),
        ((3, 224, 224), "cpu", 64), ((3, 224, 224), "cuda", 500), ((3, 224, 224), "meta", 500),
    ],
)  # fmt: skip
def test_networks_answer_so_many_at_a_time(shape: tuple[int, ...], device: str, many: int) -> None:
    """On a CPU fewer large images: pixels here are none, one byte stands for all."""
    images = Images(torch.zeros(1).expand(1234, *shape), *[torch.zeros(1234).long()] * 2)
    portions = images.portions(torch.device(device))
    assert [len(rows) for rows in portions[:-1]] == [many] * (1234 // many)
    assert torch.equal(torch.cat(portions), torch.arange(1234))
    images.features = torch.zeros(1234, 16)  # which a frozen body has computed
    assert len(images.portions(torch.device("cpu"))) == 3
    assert images.part(torch.zeros(0).long()).portions() == ()
