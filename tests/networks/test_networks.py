from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from lifelong.backbones import ReducedResNet
from lifelong.backbones.resnet import Block
from lifelong.networks import Independent, MultiHead, Network, OutputMatrix, SingleHead
from lifelong.transfer import HardTransferLayer, TransferNetwork, top
from tests.conftest import small_body


def test_a_mixed_batch_goes_through_the_heads_of_its_tasks() -> None:
    network = Network(small_body(), partial(MultiHead, hidden=[5]))
    for task, classes in enumerate((3, 2)):
        network.add_task(task, range(classes))
    x, t = torch.randn(4, 2, 6, 6), torch.tensor([1, 0, 1, 0])
    scores = network(x, t)
    for row, task in enumerate(t.tolist()):
        own = network.logits(x[row : row + 1], task)[0]
        torch.testing.assert_close(scores[row, : len(own)], own, rtol=1e-5, atol=1e-6)
    assert (scores[t == 1][:, 2] == -torch.inf).all()


def test_a_head_survives_a_second_visit() -> None:
    network = Network(small_body(), MultiHead)
    network.add_task(0, range(3))
    before = network.heads.head_for(0)
    network.add_task(1, range(3))
    network.add_task(0, range(3))
    assert network.heads.head_for(0) is before


def test_a_single_head_refuses_another_number_of_classes() -> None:
    network = Network(small_body(), SingleHead)
    network.add_task(0, range(3))
    network.add_task(1, range(3))
    assert network.heads.head_for(0) is network.heads.head_for(1)
    with pytest.raises(ValueError, match=r"heads=single: task 3 has 2 classes and the head 3"):
        network.add_task(2, range(2))


def test_independent_networks_train_one_at_a_time() -> None:
    network = Independent(small_body(), MultiHead)
    network.add_task(0, range(3))
    network.add_task(1, range(3))
    trained = {name.split(".")[1] for name, p in network.named_parameters() if p.requires_grad}
    assert trained == {"1"}


def test_dropout_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"heads\.dropout=1\.0"):
        MultiHead(3, dropout=1.0)


def test_a_matrix_gives_each_task_its_own_columns() -> None:
    network = Network(small_body(), partial(OutputMatrix, outputs=9, hidden=[5]))
    for task in (0, 1, 2):
        network.add_task(task, range(3))
    network.add_task(1, range(3))  # a second visit
    x, y = torch.randn(4, 2, 6, 6), torch.tensor([0, 1, 2, 0])
    matrix = network.heads
    whole = matrix.output(matrix.below(network.body(x)))
    torch.testing.assert_close(network.logits(x, 1), whole[:, 3:6])
    masked = torch.full_like(whole, -1e11)
    masked[:, 3:6] = whole[:, 3:6]
    loss = F.cross_entropy(network.logits(x, 1), y)
    torch.testing.assert_close(loss, F.cross_entropy(masked, y + 3))
    loss.backward()
    gradient = matrix.output.weight.grad
    assert not gradient[:3].any()
    assert not gradient[6:].any()
    assert gradient[3:6].any()
    with pytest.raises(ValueError, match=r"heads\.outputs=9: the tasks up to number 4 have 11"):
        network.add_task(3, range(2))


def test_columns_come_back_when_tasks_are_met_again() -> None:
    one, two = (Network(small_body(), partial(OutputMatrix, outputs=9)) for _ in range(2))
    for network in (one, two):
        network.add_task(0, range(2))
        network.add_task(1, range(3))
    two.load_state_dict(one.state_dict())
    x = torch.randn(4, 2, 6, 6)
    for task in (0, 1):
        assert torch.equal(one.logits(x, task), two.logits(x, task))


@pytest.mark.parametrize(
    ("shape", "features", "parameters"), [((3, 32, 32), 160, 496_680), ((3, 84, 84), 640, 544_680)]
)
def test_the_reduced_resnet(shape: tuple[int, ...], features: int, parameters: int) -> None:
    network = Network(partial(ReducedResNet, shape), partial(OutputMatrix, outputs=100))
    network.add_task(0, range(5))
    assert network.body.features == features
    assert network.logits(torch.zeros(2, *shape), 0).shape == (2, 5)
    assert sum(p.numel() for p in network.parameters()) == parameters
    assert len(list(network.parameters())) == 48


def test_a_block_by_hand() -> None:
    block = Block(3, 4, 2, 0.0)
    x = torch.randn(5, 3, 6, 6)
    y = F.relu(F.conv2d(x, block.conv.weight, stride=2, padding=1))
    y = (y - y.mean((0, 2, 3), True)) / (y.var((0, 2, 3), False, keepdim=True) + 1e-5).sqrt()
    z = F.relu(y + F.conv2d(x, block.shortcut.weight, stride=2))
    z = (z - z.mean((0, 2, 3), True)) / (z.var((0, 2, 3), False, keepdim=True) + 1e-5).sqrt()
    torch.testing.assert_close(block(x), z, rtol=1e-4, atol=1e-5)


def test_bodies_without_layers_are_refused_where_layers_are_shared() -> None:
    body = partial(ReducedResNet, (3, 32, 32))
    with pytest.raises(ValueError, match="ReducedResNet is no stack of layers"):
        TransferNetwork(body, MultiHead, HardTransferLayer, top)
    with pytest.raises(ValueError, match="images are too small"):
        ReducedResNet((1, 8, 8))
