"""All tasks at once."""

from __future__ import annotations

from functools import partial

import torch

from lifelong.data import Images
from lifelong.networks import MultiHead, Network
from lifelong.strategies import Joint
from tests.conftest import small_body, toy_visit


def test_one_round_on_all_images_when_the_last_task_is_met() -> None:
    """A task that is met again does not count twice."""
    method = Joint(Network(small_body(), MultiHead), partial(torch.optim.SGD, lr=0.1))
    visits = [toy_visit(0), toy_visit(1), toy_visit(0, number=3), toy_visit(2, 4, last=True)]
    for visit in visits[:-1]:
        method.begin_task(visit)
        assert list(method.rounds(visit)) == []
    method.begin_task(visits[-1])
    (now,) = method.rounds(visits[-1])
    assert isinstance(now.train, Images)
    assert isinstance(now.val, Images)
    assert now.train.t.bincount().tolist() == [24] * 3
    assert now.val.t.bincount().tolist() == [12] * 3
    rows = torch.nonzero(now.train.t == 0)[:, 0]
    assert torch.equal(now.train[rows].x, visits[2].train[torch.arange(24)].x)
    assert set(method.network.heads.all) == {"0", "1", "2"}
