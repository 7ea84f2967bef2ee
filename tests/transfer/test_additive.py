"""Additive decomposition against its formulas (LASEM spec, section 5)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.transfer.decomposed import apd, layers


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


def test_what_a_task_trains() -> None:
    for variant, parts in (("release", False), ("full", True)):
        layer = layers(apd(variant))[0]
        assert layer.part(0).tau.requires_grad == parts
        assert not layer.part(0).mask.requires_grad
        assert layer.part(1).mask.requires_grad
        assert layer.shared().weight.requires_grad
