"""APD's losses by hand (LASEM spec, check 21)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lifelong.data import Batch
from tests.transfer.decomposed import apd, layers


def batch(task: int = 1) -> Batch:
    return Batch(torch.randn(6, 2, 6, 6), torch.arange(6) % 3, torch.full((6,), task))


def test_loss_of_the_release() -> None:
    made, data = apd(sparsity=0.3, drift=7.0), batch()
    for number, layer in enumerate(layers(made)):
        layer.shared().weight.data.add_(0.01 * (number + 1))
    entropy = F.cross_entropy(made(data.x, data.t), data.y)
    tau = sum(layer.part(1).tau.abs().mean() for layer in layers(made)) / 4
    moved = [(0.01 * (number + 1)) ** 2 / 2 for number in range(4)]
    drift = sum(moved) / 8  # four weights that moved, four biases that did not
    expected = entropy + 0.3 * tau + 7.0 * drift
    torch.testing.assert_close(made.training_loss(data), expected)
    assert apd().drift == 0.0  # as released, in effect
    first = apd(tasks=1, drift=7.0)
    layers(first)[0].shared().weight.data.add_(1.0)
    torch.testing.assert_close(
        first.release_terms(),
        4e-4 * sum(layer.part(0).tau.abs().mean() for layer in layers(first)) / 4,
    )


def test_loss_of_the_paper() -> None:
    made, data = apd("full", sparsity=0.3, drift=7.0, weight_decay=0.2), batch()
    theta = [layer.masked_shared(0) + layer.own(0) for layer in layers(made)]
    theta = [weight.detach().clone() for weight in theta]
    for layer in layers(made):
        layer.shared().weight.data.add_(0.02)
    expected = F.cross_entropy(made(data.x, data.t), data.y)
    for layer, old in zip(layers(made), theta, strict=True):
        new, before = layer.part(1), layer.part(0)
        effective = layer.shared().weight * before.mask.sigmoid()[:, None, None, None] + before.tau
        expected = expected + 0.3 * (new.tau.abs().sum() + before.tau.abs().sum())
        expected = expected + 3.5 * (effective - old).square().sum()
        expected = expected + 0.1 * (new.tau.square().sum() + new.mask.square().sum())
    torch.testing.assert_close(made.training_loss(data), expected)
