"""One head for all classes, and what several tasks make of heads."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lifelong.networks import (
    IncrementalHead,
    MultiHead,
    Network,
    OutputMatrix,
    SingleHead,
    by_task,
)
from lifelong.strategies import Strategy
from tests.conftest import small_body

SGD = partial(torch.optim.SGD, lr=0.1)
TASKS = [(3, 1), (4, 0), (0, 3, 7)]  # the last one shares a class with each of the others


def learned(heads: partial[IncrementalHead] | type, tasks: list[tuple[int, ...]]) -> Strategy:
    made = Strategy(Network(small_body(), heads), SGD)
    for index, classes in enumerate(tasks):
        made.classes[index] = classes
        made.network.add_task(index, classes)
    return made.eval()


@pytest.mark.parametrize("hidden", [(), (5,)])
def test_all_classes_met_compete_and_those_of_the_task_come_first(hidden: tuple[int, ...]) -> None:
    made = learned(partial(IncrementalHead, hidden=hidden), TASKS)
    head = made.network.heads
    assert head.numbers == [3, 1, 4, 0, 7]
    x = torch.randn(6, 2, 6, 6)
    every = head.scores(made.network.body(x))  # (b, 5), in the order of `numbers`
    for task, order in enumerate(([0, 1, 2, 3, 4], [2, 3, 0, 1, 4], [3, 0, 4, 1, 2])):
        scores = made(x, torch.full((6,), task))
        assert torch.equal(scores, every[:, order])
        given = made.predict(x, torch.full((6,), task))
        assert torch.equal(given.scores, scores[:, : len(TASKS[task])])
        assert given.classes[0].tolist() == list(TASKS[task])
    without = made.predict(x)
    assert without.classes[0].tolist() == head.numbers
    assert torch.equal(without.scores, every)


def test_the_loss_is_a_softmax_over_all_classes_met() -> None:
    """Whatever the tasks in a batch: labels are places among the task's own classes."""
    made = learned(IncrementalHead, TASKS[:2])
    x, t = torch.randn(6, 2, 6, 6), torch.tensor([0, 1, 0, 1, 1, 0])
    y = torch.tensor([1, 0, 0, 1, 0, 1])
    every = made.network.heads.scores(made.network.body(x))
    numbers = torch.tensor([TASKS[task][label] for task, label in zip(t, y, strict=True)])
    columns = torch.tensor([made.network.heads.numbers.index(int(n)) for n in numbers])
    torch.testing.assert_close(F.cross_entropy(made(x, t), y), F.cross_entropy(every, columns))


def test_columns_of_classes_to_come_compete_where_they_are_there_from_the_start() -> None:
    made = learned(partial(IncrementalHead, outputs=5), TASKS[:1])
    x = torch.randn(6, 2, 6, 6)
    every = made.network.heads.scores(made.network.body(x))
    assert torch.equal(made(x, torch.zeros(6).long()), every)
    assert made.predict(x).classes[0].tolist() == [3, 1]
    assert torch.equal(made.predict(x).scores, every[:, :2])
    made.network.add_task(1, TASKS[1])
    assert made(x, torch.ones(6).long()).shape == (6, 5)
    with pytest.raises(ValueError, match=r"heads\.outputs=3: the tasks up to number 2 have 4"):
        learned(partial(IncrementalHead, outputs=3), TASKS)


def test_a_new_task_leaves_earlier_weights_and_their_names_alone() -> None:
    made = learned(IncrementalHead, TASKS[:1])
    before = {name: (id(p), p.clone()) for name, p in made.network.named_parameters()}
    made.network.add_task(1, TASKS[1])
    after = dict(made.network.named_parameters())
    for name, (identity, value) in before.items():
        assert id(after[name]) == identity
        assert torch.equal(after[name], value)
    made.network.add_task(2, (4, 1))  # no class is new
    assert dict(made.network.named_parameters()).keys() == after.keys()


@pytest.mark.parametrize(
    ("heads", "tasks", "groups"),
    [
        (MultiHead, [(0, 1), (2, 3)], 2),
        (partial(OutputMatrix, outputs=4), [(0, 1), (2, 3)], 2),
        (IncrementalHead, [(0, 1), (2, 3)], 1),
        (SingleHead, [(0, 1), (0, 1)], 1),
    ],
)
def test_classes_that_compete(heads: type, tasks: list[tuple[int, ...]], groups: int) -> None:
    made = learned(heads, tasks)
    features = torch.randn(3, made.network.body.features)
    found = made.network.heads.softmax_groups(features, [0, 1])
    assert len(found) == groups
    assert sum(part.shape[1] for part in found) == len({n for task in tasks for n in task})
    assert made.network.heads.softmax_groups(features, []) == []


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


@pytest.mark.parametrize("heads", [MultiHead, SingleHead, partial(OutputMatrix, outputs=7)])
@pytest.mark.parametrize("initial", ["truncated_normal", "uniform", "kaiming"])
def test_heads_start_as_asked(heads: Any, initial: str) -> None:
    made = heads(400, init=initial)
    made.add_task(0, range(7))
    parameters = list(made.parameters())
    expected = {"truncated_normal": 0.2, "uniform": None, "kaiming": 0.0}[initial]
    if expected is None:
        assert 0 < parameters[-1].abs().max() <= 1 / 20
        assert 0.045 < parameters[0].abs().max() <= 1 / 20
    else:
        assert (parameters[-1] == expected).all()


@pytest.mark.parametrize("classes", [[(0, 1), (2, 3), (4, 5)], TASKS])
def test_mixed_rows_have_the_scores_and_gradients_of_each_head(
    classes: list[tuple[int, ...]],
) -> None:
    """Whether their heads are asked as one linear layer, or one after the other."""
    heads = MultiHead(8).double()
    for task, own in enumerate(classes):
        heads.add_task(task, own)
    heads.double()
    t, x = torch.tensor([2, 0, 2, 0, 0]), torch.randn(5, 8, dtype=torch.float64)
    found = []
    for of_tasks in (heads.of_tasks, partial(by_task, heads)):
        rows = x.clone().requires_grad_()
        scores = of_tasks(rows, t)
        scores.exp().sum().backward()
        found.append([scores.detach(), rows.grad, *(p.grad for p in heads.parameters())])
        assert heads.all["1"].output.weight.grad is None  # no row is of its task
        heads.zero_grad()
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_mixed_rows_drop_features_in_training_alone() -> None:
    heads = MultiHead(50, dropout=0.5)
    for task in range(2):
        heads.add_task(task, (0, 1))
    t, x = torch.tensor([0, 1]), torch.ones(2, 50)
    assert not torch.equal(heads.of_tasks(x, t), heads.of_tasks(x, t))
    heads.eval()
    assert torch.equal(heads.of_tasks(x, t), heads.of_tasks(x, t))
