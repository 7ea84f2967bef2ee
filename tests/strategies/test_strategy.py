"""What every method has in common."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lifelong.networks import MultiHead, Network
from lifelong.optim import TaskOptimizer
from lifelong.strategies import Round, Strategy
from lifelong.transfer import every
from tests.conftest import small_body, toy_visit, transfer_network
from tests.strategies.optimizing import optimizer_of, strategy

SGD = partial(torch.optim.SGD, lr=0.1)


class Penalised(Network):
    """A network with a regulariser that tells its task."""

    def penalty(self, task: int) -> torch.Tensor:
        return torch.tensor(10.0 * (task + 1))


def test_a_task_begins_with_its_classes_and_a_head() -> None:
    made = strategy(SGD)
    made.scheduled = 7
    made.begin_task(toy_visit(2, number=5))
    assert (made.began, made.current, made.visit) == (7, 2, 5)
    assert made.classes == {0: (0, 1, 2), 2: (6, 7, 8)}
    assert set(made.network.heads.all) == {"0", "2"}
    assert list(made.rounds(toy_visit(2))) == [Round()]
    assert dict(made.drawings({})) == {}
    assert list(made.auxiliary_networks()) == []


def test_the_loss_is_cross_entropy_and_the_penalties_of_the_tasks_in_the_batch() -> None:
    made = Strategy(Penalised(small_body(), MultiHead), SGD)
    visits = [toy_visit(0), toy_visit(1)]
    for visit in visits:
        made.begin_task(visit)
    one = visits[1].train[torch.arange(6)]
    expected = F.cross_entropy(made.network.logits(one.x, 1), one.y) + 20
    torch.testing.assert_close(made.training_loss(one), expected)
    other = visits[0].train[torch.arange(6)]
    both = one._replace(**{
        name: torch.cat([getattr(one, name), getattr(other, name)]) for name in ("x", "y", "t")
    })  # fmt: skip
    parts = [
        F.cross_entropy(made.network.logits(b.x, task), b.y) for task, b in ((1, one), (0, other))
    ]
    torch.testing.assert_close(made.training_loss(both), sum(parts) / 2 + 10 + 20)


def test_configurations_are_chosen_by_methods_that_search() -> None:
    message = "gives 16 configurations to choose from, and Strategy does not choose"
    with pytest.raises(ValueError, match=message):
        Strategy(transfer_network(every), SGD)


class Counting(TaskOptimizer):
    """Counts the tasks that it was told of."""

    told = 0

    def step(self, closure: Any = None) -> None:
        pass

    def report(self) -> dict[str, Any]:
        return {"told": self.told}

    def end_task(self) -> None:
        self.told += 1


def test_an_optimizer_that_tells_of_a_task_is_asked_before_it_ends() -> None:
    made = strategy(partial(Counting, defaults={"lr": 0.1}))
    made.lifetime = "stream"
    assert isinstance(optimizer_of(made), Counting)
    for number in (1, 2):
        made.close_task(toy_visit(0, number=number), [])  # type: ignore[arg-type]
    assert made.method["told"] == {"1": 0, "2": 1}
    made.tell("a line")
    assert made.notes == ["a line"]
