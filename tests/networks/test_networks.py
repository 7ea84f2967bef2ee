from __future__ import annotations

from functools import partial

import pytest
import torch

from lifelong.networks import Independent, MultiHead, Network, SingleHead
from tests.conftest import small_body


def test_a_mixed_batch_goes_through_the_heads_of_its_tasks() -> None:
    network = Network(small_body(), partial(MultiHead, hidden=[5]))
    for task, classes in enumerate((3, 2)):
        network.add_task(task, classes)
    x, t = torch.randn(4, 2, 6, 6), torch.tensor([1, 0, 1, 0])
    scores = network(x, t)
    for row, task in enumerate(t.tolist()):
        own = network.logits(x[row : row + 1], task)[0]
        torch.testing.assert_close(scores[row, : len(own)], own, rtol=1e-5, atol=1e-6)
    assert (scores[t == 1][:, 2] == -torch.inf).all()


def test_a_head_survives_a_second_visit() -> None:
    network = Network(small_body(), MultiHead)
    network.add_task(0, 3)
    before = network.heads.of(0)
    network.add_task(1, 3)
    network.add_task(0, 3)
    assert network.heads.of(0) is before


def test_a_single_head_refuses_another_number_of_classes() -> None:
    network = Network(small_body(), SingleHead)
    network.add_task(0, 3)
    network.add_task(1, 3)
    assert network.heads.of(0) is network.heads.of(1)
    with pytest.raises(ValueError, match=r"heads=single: task 2 has 2 classes and the head 3"):
        network.add_task(2, 2)


def test_independent_networks_train_one_at_a_time() -> None:
    network = Independent(small_body(), MultiHead)
    network.add_task(0, 3)
    network.add_task(1, 3)
    trained = {name.split(".")[1] for name, p in network.named_parameters() if p.requires_grad}
    assert trained == {"1"}


def test_dropout_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"heads\.dropout=1\.0"):
        MultiHead(3, dropout=1.0)
