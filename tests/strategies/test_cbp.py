"""Continual backpropagation by hand."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from lifelong import (
    CBP,
    IncrementalHead,
    MultiHead,
    Network,
    OutputMatrix,
    SingleHead,
    TensorFlowRMSProp,
    by_class,
    convnet,
    mlp,
)  # fmt: skip
from lifelong.backbones import resnet17
from lifelong.data.sources import digits
from lifelong.parts.stack import fed_by

SGD = partial(torch.optim.SGD, lr=0.1)
BODIES = {
    "mlp": partial(mlp, (1, 8, 8), [20, 12]),
    "convnet": partial(convnet, (1, 8, 8), [4, 6], [2, 2]),
    "both": partial(convnet, (1, 8, 8), [4, 6], [2, 2], widths=[10]),
}
each_body = pytest.mark.parametrize("body", BODIES)


def made(body: str = "mlp", optimizer: Any = SGD, **options: Any) -> tuple[CBP, Any]:
    torch.manual_seed(0)
    method = CBP(Network(BODIES[body], MultiHead), optimizer, **options)
    stream = by_class(digits(), tasks=5, validation=0.1, batch_size=20, fraction=0.2)
    method.begin_task(stream.visits[0])
    method.configure_optimizers()
    return method, stream.visits[0]


def step(method: CBP, batch: Any) -> None:
    method.optimizer.zero_grad()
    method.training_loss(batch).backward()
    method.optimizer.step()
    method.on_train_batch_end(None, batch, 0)


def outputs(method: CBP, x: torch.Tensor) -> list[np.ndarray]:
    found = []
    for layer in method.network.body.layers:
        x = layer(x)
        found.append(x.detach().numpy())
    return found


def fed(method: CBP, number: int) -> np.ndarray:
    """Sum of the sizes of a unit's outgoing weights, from the answers to a change of the unit."""
    layers = method.network.body.layers
    if number + 1 < len(layers):
        weight = layers[number + 1].weight.detach().abs().numpy()
    else:
        weight = method.network.heads.all["0"].output.weight.detach().abs().numpy()
    units = len(layers[number].bias)
    if number + 1 == len(layers) and layers[number].weight.dim() == 4:
        return weight.reshape(len(weight), -1, units).sum((0, 1))
    return weight.reshape(len(weight), units, -1).sum((0, 2))


@each_body
def test_utilities_by_hand(body: str) -> None:
    method, visit = made(body, decay=0.9, replace=0.0)
    running: list[Any] = [0.0] * len(method.layers)
    for number in range(3):
        batch = visit.train[torch.arange(10) + 10 * number]
        seen = outputs(method, batch.x)
        step(method, batch)
        for place, h in enumerate(seen):
            size = np.abs(h).mean((0, *range(2, h.ndim)))
            running[place] = 0.9 * running[place] + 0.1 * size * fed(method, place)
    for utility, value in zip(method.utilities(), running, strict=True):
        np.testing.assert_allclose(utility.numpy(), value / (1 - 0.9**3), rtol=2e-5)


@each_body
def test_the_least_useful_mature_units_begin_anew_and_feed_nothing(body: str) -> None:
    method, visit = made(body, replace=0.25, maturity=2)
    batch = visit.train[torch.arange(20)]
    for _ in range(2):
        step(method, batch)
    assert method.method["replaced"] == {}
    layers = list(method.layers.values())
    method.optimizer.zero_grad()
    method.training_loss(batch).backward()
    method.optimizer.step()
    before = [(layer.weight.detach().clone(), layer.bias.detach().clone()) for layer in layers]
    method.on_train_batch_end(None, batch, 0)
    replaced = 0
    for number, (layer, (weight, bias)) in enumerate(zip(layers, before, strict=True)):
        units, wanted = len(bias), len(bias) // 4
        new = (method.get_buffer(f"age_{number}") == 0).nonzero()[:, 0]
        assert len(new) == wanted
        replaced += wanted
        old = [unit for unit in range(units) if unit not in new.tolist()]
        assert torch.equal(layer.bias[old], bias[old])
        assert not torch.equal(layer.weight[new], weight[new])
        assert float((layer.bias[new].detach() - 0.2).abs().max()) < 1e-6  # as it is drawn
        for each in fed_by(method.network, layer):
            columns = each.by_unit(each.weight, units)
            if number + 1 < len(layers):  # new units above feed nothing either
                columns = columns[method.get_buffer(f"age_{number + 1}") > 0]
            assert not columns[:, new].any()
            assert columns[:, old].any()
        if number == 0:
            assert torch.equal(layer.weight[old], weight[old])
        worth = method.get_buffer(f"utility_{number}")
        assert float(worth[new].abs().max()) == 0
    assert method.method["replaced"] == {"1": replaced}


@each_body
def test_answers_stay_but_for_what_the_units_gave(body: str) -> None:
    method, visit = made(body, replace=0.25, maturity=0)
    batch = visit.train[torch.arange(20)]
    step(method, batch)
    step(method, batch)
    number = len(method.layers) - 1
    layer = list(method.layers.values())[number]
    new = (method.get_buffer(f"age_{number}") == 0).nonzero()[:, 0]
    before = method(batch.x, batch.t)
    with torch.no_grad():
        layer.weight[new] += 1.0  # units that feed nothing
    torch.testing.assert_close(method(batch.x, batch.t), before, rtol=0, atol=1e-6)


def test_the_authors_keep_the_mean_of_what_a_unit_gave() -> None:
    method, visit = made("mlp", replace=0.25, maturity=0, fidelity="authors", decay=0.0)
    batch = visit.train[torch.arange(20)]
    method.optimizer.zero_grad()
    method.training_loss(batch).backward()
    head = method.network.heads.all["0"].output
    bias, weight = head.bias.detach().clone(), head.weight.detach().clone()
    mean = method._seen[1][1]
    method.on_train_batch_end(None, batch, 0)
    new = (method.get_buffer("age_1") == 0).nonzero()[:, 0]
    wanted = bias + weight[:, new] @ mean[new]
    torch.testing.assert_close(head.bias.detach(), wanted)


@pytest.mark.parametrize(("rule", "start"), [
    (partial(torch.optim.Adam, lr=0.01), {"exp_avg": 0.0, "exp_avg_sq": 0.0}),
    (partial(TensorFlowRMSProp, lr=0.01, initial=0.7), {"square": 0.7}),
    (partial(torch.optim.Adagrad, lr=0.01, initial_accumulator_value=0.3), {"sum": 0.3}),
])  # fmt: skip
def test_the_optimizer_forgets_what_begins_anew(rule: Any, start: dict[str, float]) -> None:
    method, visit = made("both", optimizer=rule, replace=0.25, maturity=0)
    step(method, visit.train[torch.arange(20)])
    step(method, visit.train[torch.arange(20)])
    layers = list(method.layers.values())
    new = (method.get_buffer("age_1") == 0).nonzero()[:, 0]
    for name, value in start.items():
        own = method.optimizer.state[layers[1].weight][name]
        assert bool((own[new] == value).all())
        above = fed_by(method.network, layers[1])[0]
        columns = above.by_unit(method.optimizer.state[above.weight][name], 6)
        assert bool((columns[:, new] == value).all())


def test_what_it_cannot_do() -> None:
    with pytest.raises(ValueError, match="shortcuts"):
        CBP(Network(partial(resnet17, (1, 32, 32)), MultiHead), SGD)
    with pytest.raises(ValueError, match=r"strategy\.decay=1"):
        made(decay=1.0)


@pytest.mark.parametrize(("heads", "maps"), [
    (MultiHead, 1), (partial(MultiHead, hidden=[12]), 1), (IncrementalHead, 1),
    (partial(IncrementalHead, hidden=[12]), 1), (partial(OutputMatrix, outputs=10), 1),
    (partial(OutputMatrix, hidden=[12], outputs=10), 1), (SingleHead, 1),
])  # fmt: skip
def test_the_heads_first_maps_are_fed(heads: Any, maps: int) -> None:
    network = Network(BODIES["mlp"], heads)
    network.add_task(0, [0, 1])
    found = fed_by(network, network.body.layers[-1])
    assert len(found) == maps
    assert (len(found[0].weight) == 12) == bool(network.heads.hidden)
    with torch.no_grad():
        found[0].weight.zero_()  # what nothing feeds answers alike
    scores = network.heads(torch.randn(3, 12), 0)
    torch.testing.assert_close(scores, scores[:1].expand(3, -1))
