"""Progressive networks against a plain computation (LASEM spec, check 18)."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.backbones import mlp
from lifelong.networks import Independent, MultiHead, ProgressiveNetwork
from tests.conftest import small_body

HEADS = partial(MultiHead, hidden=[5])


def network(reduction: int = 1, tasks: int = 3, body: Any = None) -> ProgressiveNetwork:
    made = ProgressiveNetwork(body or small_body(), HEADS, reduction)
    for task in range(tasks):
        made.add_task(task, range(3))
    return made


def by_hand(made: ProgressiveNetwork, x: Tensor, task: int) -> Tensor:
    """Each lateral link on its own, as the formula has it."""
    columns: list[list[Tensor]] = []
    for number in range(task + 1):
        outputs: list[Tensor] = []
        h = x
        for depth, layer in enumerate(made.column(number).body.layers):
            z = F.conv2d(h, layer.weight, layer.bias, padding=1)
            if depth > 0:
                for j, earlier in enumerate(columns):
                    link = made.laterals[str(number)][depth - 1]
                    scaled = link.scale[j] * earlier[depth - 1]
                    reduced = F.conv2d(scaled, link.reduce[j][:, :, None, None], link.offset[j])
                    n = reduced.shape[1]
                    z = z + F.conv2d(
                        F.relu(reduced), link.weight[:, j * n : (j + 1) * n], padding=1
                    )
            h = layer.pooled(F.relu(z))
            outputs.append(h)
        columns.append(outputs)
    flat = columns[task][-1].permute(0, 2, 3, 1).flatten(1)
    return made.column(task).heads(flat, task)


@pytest.mark.parametrize("task", [0, 1, 2])
def test_equals_the_formula(task: int) -> None:
    made = network()
    for links in made.laterals.values():
        for link in links:
            link.scale.data.fill_(1.7)  # at their small start values the links hardly matter
    x = torch.randn(4, 2, 6, 6)
    torch.testing.assert_close(made.logits(x, task), by_hand(made, x, task), rtol=1e-5, atol=1e-6)


def test_no_gradient_reaches_earlier_columns() -> None:
    made = network()
    made.logits(torch.randn(4, 2, 6, 6), 2).sum().backward()
    for key in ("0", "1"):
        for store in (made.columns, made.laterals):
            assert all(p.grad is None for p in store[key].parameters())
    assert all(p.grad is not None for p in made.columns["2"].parameters())
    assert all(p.grad is not None for p in made.laterals["2"].parameters())


def test_earlier_columns_matter() -> None:
    made, x = network(), torch.randn(4, 2, 6, 6)
    before = made.logits(x, 1)
    made.column(0).body.layers[0].weight.data.add_(1.0)
    assert not torch.equal(before, made.logits(x, 1))


@pytest.mark.parametrize(
    ("reduction", "widths"),
    [(1, {1: [1, 2, 1], 2: [1, 1, 1]}), (2, {1: [1, 1, 1], 2: [1, 1, 1]})],
)
def test_widths_of_the_links(reduction: int, widths: dict[int, list[int]]) -> None:
    """n = c_in / (rho (J + 1)), rounded down, at least 1; inputs are 3, 4, 3."""
    made = network(reduction)
    for task, expected in widths.items():
        links = made.laterals[str(task)]
        assert [link.reduce.shape[1] for link in links] == expected
        assert all(link.reduce.shape[0] == task for link in links)


def test_first_column_is_a_single_task_network() -> None:
    torch.manual_seed(3)
    progressive = network(tasks=1)
    torch.manual_seed(3)
    single = Independent(small_body(), HEADS)
    single.add_task(0, range(3))
    x = torch.randn(4, 2, 6, 6)
    assert torch.equal(progressive.logits(x, 0), single.logits(x, 0))
    assert progressive.size() == single.size()


def test_fully_connected_columns() -> None:
    made = network(body=partial(mlp, (2, 6, 6), [8, 6]))
    made.logits(torch.randn(4, 2, 6, 6), 2).sum().backward()
    assert made.laterals["2"][0].weight.shape == (6, 2 * (8 // 3))


def test_refuses_a_reduction_below_one() -> None:
    with pytest.raises(ValueError, match=r"strategy.network.reduction=0"):
        network(reduction=0)
