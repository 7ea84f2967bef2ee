"""Hard sharing: the tasks use the same weights."""

from __future__ import annotations

import torch

from lifelong.backbones import ConvLayer
from lifelong.transfer import HardTransferLayer


def test_all_tasks_have_the_weights_of_the_slot_themselves() -> None:
    layer = HardTransferLayer(ConvLayer(2, 3), 0)
    for task in (0, 1):
        layer.add_task(task, [True])
        layer.commit(task, True)
    for task in (0, 1):
        weight, bias = layer.shared_weight(task)
        assert weight is layer.shared_params.weight
        assert bias is layer.shared_params.bias
        assert not list(layer.mapping[str(task)].parameters())
    assert layer.size() == 3 * 2 * 9 + 3  # once for both
    assert layer.penalty(0) is None


def test_a_slot_takes_weights_over_by_their_values() -> None:
    layer = HardTransferLayer(ConvLayer(2, 3), 0)
    weight, bias = torch.randn(3, 2, 3, 3), torch.randn(3)
    slot = layer.shared_params
    layer.set_shared(weight, bias)
    assert layer.shared_params is slot
    assert torch.equal(slot.weight, weight)
    weight.zero_()
    assert slot.weight.any()
