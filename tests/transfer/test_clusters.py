"""Parts of tasks that are joined where they are alike."""

from __future__ import annotations

import torch

from lifelong.transfer.clusters import join
from tests.transfer.decomposed import apd, layers


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
