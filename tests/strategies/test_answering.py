"""Networks asked, with the task given and without."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from lifelong.data import Batch, Fed, generators
from lifelong.networks import Independent, MultiHead, Network, OutputMatrix
from lifelong.strategies import Strategy
from lifelong.strategies.ahead import with_future_tasks
from tests.conftest import small_body, toy_task, toy_visit

HEADS = [MultiHead, partial(OutputMatrix, outputs=9)]


def asked(heads: Any = MultiHead, network: Any = Network, tasks: int = 2) -> Strategy:
    made = Strategy(network(small_body(), heads), partial(torch.optim.SGD, lr=0.1))
    for task in range(tasks):
        made.begin_task(toy_visit(task))
    return made.eval()


def mixed(n: int = 12) -> Batch:
    """Images of both tasks, in turn."""
    t = torch.arange(n) % 2
    return Batch(torch.randn(n, 2, 6, 6), torch.arange(n) % 3, t)


@pytest.mark.parametrize("heads", HEADS)
def test_answers_are_those_of_one_image_at_a_time(heads: Any) -> None:
    """Among the classes of its task, or among those of all."""
    made, batch = asked(heads), mixed()
    given, free = made.predict(batch.x, batch.t), made.predict(batch.x)
    for row, task in enumerate(batch.t.tolist()):
        scores = [made.network.logits(batch.x[row : row + 1], each)[0] for each in (0, 1)]
        own = 3 * task + int(scores[task].argmax())
        assert given.answer()[row] == own
        assert free.answer()[row] == int(torch.cat(scores).argmax())
    assert set(given.answer()[batch.t == 0].tolist()) <= {0, 1, 2}


@pytest.mark.parametrize("heads", HEADS)
def test_both_ways_in_one_pass_are_the_two_ways_apart(heads: Any) -> None:
    made, passes = asked(heads), list[int]()
    made.network.body.register_forward_hook(lambda *_: passes.append(1))
    batch = mixed()
    together = made.predictions(batch, ["class", "task"])
    assert len(passes) == 1
    apart = [made.predict(batch.x), made.predict(batch.x, batch.t)]
    for one, other in zip(together, apart, strict=True):
        assert torch.equal(one.answer(), other.answer())
        torch.testing.assert_close(one.confidence(), other.confidence())
    own = asked(network=Independent)
    assert [len(each.scores) for each in own.predictions(batch, ["task", "class"])] == [12, 12]


def test_labels_are_told_by_number_and_by_place() -> None:
    """Of a task of other numbers of classes than the others, too."""
    made, batch = asked(tasks=0), mixed(6)
    made.classes = {0: (7, 3), 1: (5, 0, 9)}
    y = torch.tensor([1, 2, 0, 0, 1, 1])  # tasks 0, 1, 0, 1, 0, 1
    batch = batch._replace(y=y)
    assert made.class_of(batch).tolist() == [3, 9, 7, 5, 3, 0]
    assert made.place_of(batch, [0, 1]).tolist() == [1, 4, 0, 2, 1, 3]
    assert made.place_of(batch, [1, 0]).tolist() == [4, 2, 3, 0, 4, 1]
    assert made.candidate_tasks() == [0, 1]


def test_tasks_to_come_are_there_for_a_while_with_weights_of_their_seed() -> None:
    made = asked(tasks=1)
    x, before, later = torch.randn(4, 2, 6, 6), made.network, toy_task(1)
    torch.manual_seed(3)
    expected = torch.rand(2)
    found = []
    torch.manual_seed(3)
    for seed in (5, 5, 6):
        with with_future_tasks(made, {seed: later}):
            assert made.candidate_tasks() == [0, 1]
            found.append(made.network.logits(x, 1).detach())
            torch.testing.assert_close(made.network.logits(x, 0), before.logits(x, 0))
    assert torch.equal(torch.rand(2), expected)  # chance goes on as if nothing had been
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert made.network is before
    assert made.candidate_tasks() == [0]


def test_tasks_to_come_draw_from_every_generator_of_their_seed() -> None:
    """Bodies of one's own may draw new weights from NumPy's or Python's, see `generators`."""

    class Noisy(Independent):
        def add_task(self, task: int, classes: Sequence[int]) -> None:
            super().add_task(task, classes)
            self.drawn = (np.random.rand(), random.random())  # noqa: NPY002

    made, later = asked(tasks=1, network=Noisy), toy_task(1)
    before, found = generators.state(), []
    for seed in (5, 5, 6):
        with with_future_tasks(made, {seed: later}):
            found.append(made.network.drawn)
    assert not generators.drew(before)
    assert found[0] == found[1]
    assert found[0][0] != found[2][0]
    assert found[0][1] != found[2][1]


def test_only_pixels_and_labels_go_to_a_device() -> None:
    made, batch, meta = asked(tasks=0), mixed(4), torch.device("meta")
    fed = made.transfer_batch_to_device(Fed(batch, {"old": batch}), meta, 0)
    for part in (made.transfer_batch_to_device(batch, meta, 0), fed.batch, fed.feeds["old"]):
        assert [part.x.device, part.y.device] == [meta] * 2
        assert part.t.device.type == "cpu"
