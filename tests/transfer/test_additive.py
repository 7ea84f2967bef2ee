"""Additive decomposition against its formulas (LASEM spec, section 5 and check 21)."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lifelong.data import Batch
from lifelong.networks import MultiHead
from lifelong.strategies import APD
from lifelong.transfer import AdditiveTransferLayer, TransferNetwork, top
from lifelong.transfer.clusters import join
from tests.conftest import small_body, toy_visit

SGD = partial(torch.optim.SGD, lr=0.01)


def apd(variant: Any = "release", tasks: int = 2, **options: Any) -> APD:
    kind = partial(AdditiveTransferLayer, variant=variant, threshold=options.get("sparsity", 4e-4))
    network = TransferNetwork(small_body(), partial(MultiHead, hidden=[5]), kind, top)
    made = APD(network, SGD, variant=variant, **options)
    for task in range(tasks):
        made.begin_task(toy_visit(task))
    return made


def layers(made: APD) -> list[AdditiveTransferLayer]:
    return list(made._layers(0).values())


def batch(task: int = 1) -> Batch:
    return Batch(torch.randn(6, 2, 6, 6), torch.arange(6) % 3, torch.full((6,), task))


def test_open_masks_and_no_part_give_the_shared_network() -> None:
    made, x = apd(), torch.randn(3, 2, 6, 6)
    h = x
    for layer in layers(made):
        part = layer.part(1)
        part.mask.data.fill_(100.0)
        part.tau.data.zero_()
        h = layer.shared()(h)
    expected = made.network.heads(h.permute(0, 2, 3, 1).flatten(1), 1)
    torch.testing.assert_close(made.network.logits(x, 1), expected)


@pytest.mark.parametrize("variant", ["release", "full"])
def test_weight_by_hand(variant: Any) -> None:
    layer = layers(apd(variant))[1]
    part = layer.part(1)
    weight, bias = layer.shared_weight(1)
    mask = torch.sigmoid(part.mask)
    if variant == "full":
        mask = mask[:, None, None, None]
        assert bias is part.bias
        assert torch.equal(part.tau, layer.shared().weight)  # tau starts as a copy of S
    else:
        assert bias is layer.shared().bias
    torch.testing.assert_close(weight, layer.shared().weight * mask + part.tau)


def test_small_entries_count_as_zero_outside_training_in_full() -> None:
    made = apd("full", sparsity=0.05)
    layer = layers(made)[0]
    tau = layer.part(1).tau
    made.eval()
    assert torch.equal(layer.own(1), torch.where(tau.abs() < 0.05, 0.0, tau))
    made.train()
    assert torch.equal(layer.own(1), tau)
    kept = sum(int((layer.part(task).tau.abs() >= 0.05).sum()) for task in (0, 1))
    whole = layer.shared().weight.numel()
    assert layer.size() == whole + kept + 2 * (3 + 3)  # and masks and biases of two tasks


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


def test_what_a_task_trains() -> None:
    for variant, parts in (("release", False), ("full", True)):
        layer = layers(apd(variant))[0]
        assert layer.part(0).tau.requires_grad == parts
        assert not layer.part(0).mask.requires_grad
        assert layer.part(1).mask.requires_grad
        assert layer.shared().weight.requires_grad


def test_parts_that_are_alike_are_joined() -> None:
    made = apd("full", tasks=4)
    layer = layers(made)[0]
    shape = layer.part(0).tau.shape
    with torch.no_grad():
        for task, level in enumerate((0.0, 0.004, 5.0, 5.002)):
            layer.part(task).tau.fill_(level)
        layer.part(1).tau[0] = 0.5  # too far from the other's
    before = [layer.own(task) for task in range(4)]
    join(layer, list(range(4)), 2, 0.01)
    assert torch.equal(layer.part(0).group, layer.part(1).group)
    assert torch.equal(layer.part(2).group, layer.part(3).group)
    torch.testing.assert_close(layer.part(2).group, torch.full(shape, 5.001))
    assert not layer.part(2).tau.any()
    assert not layer.part(1).group[0].any()
    assert torch.equal(layer.part(1).tau[0], before[1][0])
    for task in range(4):
        assert (layer.own(task) - before[task]).abs().max() < 0.01


def test_clusters_of_one_keep_their_part() -> None:
    layer = layers(apd("full", tasks=3))[0]
    with torch.no_grad():
        for task, level in enumerate((0.0, 0.004, 5.0)):
            layer.part(task).tau.fill_(level)
    join(layer, [0, 1, 2], 2, 0.01)
    assert not layer.part(2).group.any()
    assert (layer.part(2).tau == 5.0).all()
