"""The transfer network against separate plain networks (LASEM spec, checks 3 to 8)."""

from __future__ import annotations

import re
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.networks import Independent, MultiHead, Network
from lifelong.transfer import TransferNetwork, every, explicit, top
from tests.conftest import KINDS, small_body, transfer_network

kinds = pytest.mark.parametrize("kind", list(KINDS))


@kinds
def test_gradient_is_the_posterior_weighted_sum(kind: str) -> None:
    """Check 3, in float64: for slots, mappings, private weights and the head."""
    network = transfer_network(every, kind=kind).double()
    network.add_task(0, range(3))
    network.double()
    x, y = torch.randn(4, 2, 6, 6, dtype=torch.double), torch.tensor([0, 1, 2, 0])
    q = torch.rand(16, dtype=torch.double)
    q[3] = q[7] = 0
    q /= q.sum()
    names = [name for name, p in network.named_parameters() if p.requires_grad]
    weights = [p for p in network.parameters() if p.requires_grad]

    losses = F.cross_entropy(
        network.heads(network.tree_features(x, 0), 0), y.repeat(16), reduction="none"
    )
    ours = torch.autograd.grad(q @ losses.view(16, -1).mean(1), weights)
    sums = [torch.zeros_like(weight) for weight in weights]
    for share, config in zip(q, network.candidates, strict=True):
        loss = F.cross_entropy(network.heads(network.features(x, 0, config), 0), y)
        found = torch.autograd.grad(loss, weights, allow_unused=True)
        for total, gradient in zip(sums, found, strict=True):
            if gradient is not None:
                total += share * gradient
    parts = {name.split(".")[2] for name in names if name.startswith("layers")}
    assert parts == {"shared_params", "private"} | ({"mapping"} if kind != "hard" else set())
    for one, other in zip(ours, sums, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_layers_absent_from_all_likely_configurations_get_no_gradient() -> None:
    network = transfer_network(every)
    network.add_task(0, range(3))
    x, y = torch.randn(4, 2, 6, 6), torch.tensor([0, 1, 2, 0])
    q = torch.tensor([float(not config[1]) for config in network.candidates])  # layer 2 private
    losses = F.cross_entropy(
        network.heads(network.tree_features(x, 0), 0), y.repeat(16), reduction="none"
    )
    (q / q.sum() @ losses.view(16, -1).mean(1)).backward()
    layer = network.transfer_layers()[1]
    assert all(not p.grad.any() for p in layer.shared_params.parameters())
    assert all(p.grad.any() for p in layer.private["0"].parameters())


def test_nothing_shared_equals_independent_networks_bit_for_bit() -> None:
    heads = partial(MultiHead, hidden=[5], dropout=0.5)
    networks = [
        transfer_network(partial(top, layers=0), dropout=0.5),
        Independent(small_body(), heads),
    ]
    outcomes = []
    for network in networks:
        for task in range(2):
            torch.manual_seed(task)
            network.add_task(task, range(3))
            train(network, task)
        network.eval()
        torch.manual_seed(7)
        x, t = torch.randn(4, 2, 6, 6), torch.tensor([0, 1, 1, 0])
        outcomes.append(network(x, t))
    assert torch.equal(*outcomes)


def test_everything_shared_equals_one_body_with_two_heads() -> None:
    shared = transfer_network(top)
    plain = Network(small_body(), partial(MultiHead, hidden=[5]))
    for task in range(2):
        torch.manual_seed(task)
        shared.add_task(task, range(3))
        torch.manual_seed(task)
        plain.add_task(task, range(3))
        if task == 0:
            for layer, own in zip(shared.transfer_layers(), plain.body.layers, strict=True):
                own.load_state_dict(layer.shared_params.state_dict())
        plain.heads.load_state_dict(shared.heads.state_dict())
        for network in (shared, plain):
            torch.manual_seed(10 + task)
            train(network, task)
    x, t = torch.randn(6, 2, 6, 6), torch.tensor([0, 0, 0, 1, 1, 1])
    assert torch.equal(shared(x, t), plain(x, t))


def train(network: torch.nn.Module, task: int, steps: int = 3) -> None:
    """A few steps of gradient descent on random images."""
    generator = torch.Generator().manual_seed(task)
    weights = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=0.1)
    for step in range(steps):
        torch.manual_seed(100 * task + step)
        x = torch.randn(6, 2, 6, 6, generator=generator)
        loss = F.cross_entropy(network(x, torch.full((6,), task)), torch.arange(6) % 3)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def search_step(network: TransferNetwork, task: int) -> None:
    """A step that moves both forms of every layer."""
    weights = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(weights, lr=0.1)
    scores = network.heads(network.tree_features(torch.randn(4, 2, 6, 6), task), task)
    F.cross_entropy(scores, (torch.arange(4) % 3).repeat(16)).backward()
    optimizer.step()


@kinds
def test_commit_rolls_back_and_drops(kind: str) -> None:
    """Check 7: slots, mappings, private weights and answers before and after two commits."""
    network = transfer_network(every, kind=kind)
    layers = network.transfer_layers()
    network.add_task(0, range(3))
    search_step(network, 0)
    network.commit(0, explicit(4, "1100")[0])
    slots = [layer.shared_params for layer in layers]
    assert [layer.in_use for layer in layers] == [True, True, False, False]
    assert ["0" in layer.private for layer in layers] == [False, False, True, True]

    network.add_task(1, range(3))  # draws the two empty slots anew
    kept = [layer.shared_params is slot for layer, slot in zip(layers, slots, strict=True)]
    assert kept == [True, True, False, False]
    before = [clones(layer.shared_params) for layer in layers]
    search_step(network, 1)
    for layer, old in zip(layers, before, strict=True):
        assert not same(layer.shared_params, old)
    choice = explicit(4, "0110")[0]
    x = torch.randn(5, 2, 6, 6)
    expected = network.heads(network.features(x, 1, choice), 1)
    network.commit(1, choice)

    assert torch.equal(network.logits(x, 1), expected)  # own answers do not change
    assert [same(layer.shared_params, old) for layer, old in zip(layers, before, strict=True)] == [
        not shared for shared in choice
    ]
    assert ["1" in layer.private for layer in layers] == [not shared for shared in choice]
    assert ["1" in layer.mapping for layer in layers] == list(choice)
    assert [layer.in_use for layer in layers] == [True, True, True, False]
    assert all(layer.before is None for layer in layers)
    z = x  # the first task answers from these, by hand
    for number, layer in enumerate(layers):
        own = layer.shared_map(z, 0) if number < 2 else layer.private["0"].map(z)
        z = layer.template.activate(own)
    by_hand = network.heads(z.permute(0, 2, 3, 1).flatten(1), 0)
    assert torch.equal(network.logits(x, 0), by_hand)


def clones(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(module: torch.nn.Module, values: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, values[name]) for name, value in module.state_dict().items())


@kinds
def test_earlier_tasks_are_frozen(kind: str) -> None:
    """Check 8."""
    network = transfer_network(every, kind=kind)
    network.add_task(0, range(3))
    search_step(network, 0)
    network.commit(0, explicit(4, "0011")[0])
    own = {
        k: v.clone() for k, v in network.state_dict().items() if ".0." in k and torch.is_tensor(v)
    }
    names = [name for name in own if re.search(r"(private|mapping|all)\.0\.", name)]
    mapped = {"hard": 0, "tensor_factored": 5, "deconvolved": 4}[kind]
    assert len(names) == 2 * 2 + 4 + 2 * mapped
    network.add_task(1, range(3))
    for _ in range(3):
        search_step(network, 1)
    now = network.state_dict()
    assert all(torch.equal(own[name], now[name]) for name in names)


def test_a_known_task_goes_on_in_its_configuration() -> None:
    network = transfer_network(every)
    for task, text in enumerate(("0011", "1100")):
        network.add_task(task, range(3))
        search_step(network, task)
        network.commit(task, explicit(4, text)[0])
    before = {k: v.clone() for k, v in network.state_dict().items() if torch.is_tensor(v)}
    network.add_task(0, range(3))
    assert not network.searching
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert trained == {
        *(f"layers.{layer}.private.0.{p}" for layer in (0, 1) for p in ("weight", "bias")),
        *(f"layers.{layer}.shared_params.{p}" for layer in (2, 3) for p in ("weight", "bias")),
        *(f"heads.all.0.{layer}.{p}" for layer in (1, 2) for p in ("weight", "bias")),
    }
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in before.items())


@kinds
def test_state_of_a_search_is_restored_in_a_new_network(kind: str) -> None:
    network = transfer_network(every, kind=kind)
    network.add_task(0, range(3))
    search_step(network, 0)
    network.commit(0, explicit(4, "0110")[0])
    network.add_task(1, range(3))
    search_step(network, 1)
    again = transfer_network(every, kind=kind)
    for task in range(2):
        again.add_task(task, range(3))
    again.load_state_dict(network.state_dict())
    assert again.configs == network.configs
    for one in (network, again):
        one.commit(1, explicit(4, "1010")[0])
    x, t = torch.randn(4, 2, 6, 6), torch.tensor([0, 1, 0, 1])
    assert torch.equal(network(x, t), again(x, t))
    assert network.size() == again.size()


def test_size_counts_what_is_kept() -> None:
    network = transfer_network(every)
    network.add_task(0, range(3))
    network.commit(0, explicit(4, "1100")[0])
    sizes = [3 * 2 * 9 + 3, 4 * 3 * 9 + 4, 3 * 4 * 9 + 3, 4 * 3 * 9 + 4]
    head = 4 * 1 * 1 * 5 + 5 + 5 * 3 + 3  # 6 -> 3 -> 2 (ceil), so 4 channels of 2 x 2
    head += (16 - 4) * 5
    assert network.size() == sum(sizes) + head
    network.add_task(1, range(3))
    network.commit(1, explicit(4, "1101")[0])
    assert network.size() == sum(sizes) + sizes[2] + sizes[3] + 2 * head


def test_lasem_weighs_the_penalty_by_the_posterior() -> None:
    network = transfer_network(lambda depth: [(True,) * depth], kind="tensor_factored")
    network.add_task(0, range(3))
    single = [layer.penalty(0).item() for layer in network.transfer_layers()]
    assert network.penalty(0).item() == pytest.approx(sum(single), rel=1e-6)
    shares = torch.tensor([0.1, 0.0, 0.5, 1.0])
    expected = sum(share * value for share, value in zip(shares.tolist(), single, strict=True))
    assert network.weighted_penalty(0, shares).item() == pytest.approx(expected, rel=1e-6)
