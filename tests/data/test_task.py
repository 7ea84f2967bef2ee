"""Images, their normalisation and their joining."""

from __future__ import annotations

import torch

from lifelong.data import Images
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
