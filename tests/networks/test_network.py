"""Networks of a body and heads."""

from __future__ import annotations

from functools import partial

import torch

from lifelong.networks import Independent, MultiHead, Network
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


def test_independent_networks_train_one_at_a_time() -> None:
    network = Independent(small_body(), MultiHead)
    network.add_task(0, range(3))
    network.add_task(1, range(3))
    trained = {name.split(".")[1] for name, p in network.named_parameters() if p.requires_grad}
    assert trained == {"1"}


def test_networks_of_their_own_keep_the_frozen_layers_frozen() -> None:
    body = small_body()()
    body.frozen = (body.layers[0],)  # type: ignore[attr-defined]
    made = Independent(lambda: body, MultiHead)  # type: ignore[arg-type, return-value]
    made.add_task(0, range(3))
    assert [p.requires_grad for p in made._network(0).body.parameters()] == [False] * 2 + [True] * 6
