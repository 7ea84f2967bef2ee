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
    x = torch.randn(1, 2, 4, 4)
    for task in (0, 1):
        assert torch.equal(layer.map(x, task, True), layer.shared_params.map(x))
        assert not list(layer.mapping[str(task)].parameters())
    assert layer.size() == 3 * 2 * 9 + 3  # once for both
    assert layer.penalty(0) is None


def test_a_slot_takes_weights_over_by_their_values() -> None:
    layer = HardTransferLayer(ConvLayer(2, 3), 0)
    own = ConvLayer(2, 3)
    slot, wanted = layer.shared_params, own.weight.detach().clone()
    layer.set_shared(own)
    assert layer.shared_params is slot
    own.weight.data.zero_()
    assert torch.equal(slot.weight, wanted)
