"""HAT by hand."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lifelong import HAT, MultiHead, Network, by_class, convnet, mlp
from lifelong.backbones import resnet17
from lifelong.data.sources import digits

SGD = partial(torch.optim.SGD, lr=0.1)
BODIES = {
    "mlp": partial(mlp, (1, 8, 8), [20, 12]),
    "convnet": partial(convnet, (1, 8, 8), [4, 6], [2, 2], widths=[10]),
}
each_body = pytest.mark.parametrize("body", BODIES)


def made(body: str = "mlp", **options: Any) -> HAT:
    torch.manual_seed(0)
    return HAT(Network(BODIES[body], MultiHead), SGD, **options)


def stream() -> Any:
    return by_class(digits(), tasks=5, validation=0.1, batch_size=20, fraction=0.2)


def images(visit: Any) -> Any:
    return visit.train[torch.arange(20)]


@each_body
def test_answers_are_those_of_gated_units(body: str) -> None:
    method, visit = made(body), stream().visits[0]
    method.begin_task(visit)
    method.eval()
    batch = images(visit)
    h = batch.x
    for number, layer in enumerate(method.network.body.layers):
        gate = torch.sigmoid(400 * method.gates[f"0_{number}"])
        h = layer(h)
        h = h * (gate.view(1, -1, 1, 1) if h.dim() == 4 else gate)
    last = h.permute(0, 2, 3, 1).flatten(1) if h.dim() == 4 else h
    wanted = method.network.heads(last, 0)
    torch.testing.assert_close(method(batch.x, batch.t), wanted)


def test_the_compensated_gradient_is_that_of_the_highest_slope_at_the_unit_itself() -> None:
    method, visit = made(steepness=50.0), stream().visits[0]
    method.begin_task(visit)
    method.slope = 0.7
    e = method.gates["0_0"]
    torch.sigmoid(method.slope * e).sum().backward()
    method.on_before_optimizer_step(SGD([e]))
    gate = torch.sigmoid(e.detach())
    torch.testing.assert_close(e.grad, 50.0 * gate * (1 - gate))


def test_the_slope_rises_from_the_first_batch_to_the_last() -> None:
    method = made(steepness=10.0)
    assert [method.slope_at(b, 5) for b in (0, 4)] == pytest.approx([0.1, 10.0])
    assert method.slope_at(1, 5) == pytest.approx(0.1 + 9.9 / 4)
    authors = made(steepness=10.0, fidelity="authors")
    assert authors.slope_at(1, 5) == pytest.approx(0.1 + 9.9 / 5)


def test_the_penalty_counts_units_that_nobody_has_taken() -> None:
    method, visit = made(), stream().visits[0]
    method.begin_task(visit)
    method.slope = 2.0
    taken = [np.linspace(0, 1, 20), np.linspace(1, 0, 12)]
    for buffer, values in zip(method.taken(), taken, strict=True):
        buffer.copy_(torch.tensor(values))
    gates = [1 / (1 + np.exp(-2.0 * method.gates[f"0_{n}"].detach().numpy())) for n in range(2)]
    above = sum((g * (1 - t)).sum() for g, t in zip(gates, taken, strict=True))
    assert float(method.openness().detach()) == pytest.approx(
        above / sum((1 - t).sum() for t in taken)
    )


@each_body
def test_a_step_takes_what_both_units_of_a_weight_leave_free(body: str) -> None:
    method = made(body)
    for buffer in method.taken():
        buffer.copy_(torch.rand(len(buffer)))
    free, layers = method.free(), method.network.body.layers
    name = list(method.layers)[-1]
    above, below = method.taken()[-1], method.taken()[-2]
    each = layers[-1].weight.shape[1] // len(below)
    for out, entry in ((0, 0), (3, each), (5, 2 * each + each // 2)):
        held = min(float(above[out]), float(below[entry // each]))
        assert free[f"{name}.weight"][out, entry].flatten()[0].item() == pytest.approx(1 - held)
    first = next(iter(method.layers))
    wanted = (1 - method.taken()[0]).view(-1, *[1] * (layers[0].weight.dim() - 1))
    assert torch.equal(free[f"{first}.weight"], wanted.expand(layers[0].weight.shape))


@each_body
@pytest.mark.parametrize("rule", [partial(torch.optim.SGD, lr=0.1, momentum=0.9, weight_decay=0.1),
                                  partial(torch.optim.Adam, lr=0.01)])  # fmt: skip
def test_where_gates_are_closed_or_open_answers_stay_to_the_last_bit(body: str, rule: Any) -> None:
    method, visits = made(body), stream().visits
    method.begin_task(visits[0])
    for number in range(len(method.taken())):
        gate = method.gates[f"0_{number}"]
        gate.data = torch.where(torch.arange(len(gate)) % 2 == 0, 6.0, -6.0)
    method.end_task(visits[0], None)
    method.eval()
    batch = images(visits[0])
    before = method(batch.x, batch.t)
    method.begin_task(visits[1])
    method.train()
    method.on_train_start()
    method.slope = 3.0
    optimizer = rule([p for p in method.parameters() if p.requires_grad])
    for _ in range(3):
        method._before = [p.detach().clone() for p, _ in method._free]
        optimizer.zero_grad()
        method.training_loss(images(visits[1])).backward()
        method.on_before_optimizer_step(optimizer)
        optimizer.step()
        method.on_train_batch_end(None, None, 0)
    method.eval()
    assert torch.equal(before, method(batch.x, batch.t))
    assert method.method["capacity"]["1"] < 1


def test_shortcuts_are_refused() -> None:
    with pytest.raises(ValueError, match="shortcuts"):
        HAT(Network(partial(resnet17, (1, 32, 32)), MultiHead), SGD)
    with pytest.raises(ValueError, match="steepness"):
        made(steepness=0.5)


def test_gates_stay_within_six(tmp_path: Path) -> None:
    method, visit = made(), stream().visits[0]
    method.begin_task(visit)
    method.gates["0_0"].data.fill_(math.inf)
    method.on_train_batch_end(None, None, 0)
    assert float(method.gates["0_0"].detach().max()) == 6.0
