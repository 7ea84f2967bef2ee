"""DARTS and brute force (LASEM spec, checks 19 and 20)."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from lifelong.backbones.backbone import flat
from lifelong.data import Batch
from lifelong.optim import TensorFlowRMSProp
from lifelong.strategies import DARTS, BruteForce
from lifelong.transfer import every, explicit, top
from lifelong.transfer.mixed import mixed_features
from tests.conftest import KINDS, small_body, toy_visit, transfer_network

kinds = pytest.mark.parametrize("kind", list(KINDS))
OPTIMIZER = partial(TensorFlowRMSProp, lr=0.01)


def batch(n: int = 6) -> Batch:
    return Batch(torch.randn(n, 2, 6, 6), torch.arange(n) % 3, torch.zeros(n).long())


def darts(kind: str = "hard", **options: Any) -> DARTS:
    made = DARTS(transfer_network(every, kind=kind), OPTIMIZER, **options)
    made.begin_task(toy_visit())
    return made


@kinds
def test_equal_selectors_average_the_forms(kind: str) -> None:
    network, x = darts(kind).network, torch.randn(3, 2, 6, 6)
    h = x
    for layer in network.transfer_layers():
        forms = [F.relu(layer.linear(h, 0, shared)) for shared in (False, True)]
        h = layer.template.pooled((forms[0] + forms[1]) / 2)
    found = mixed_features(network, x, 0, torch.zeros(4, 2))
    torch.testing.assert_close(found, flat(h))


@kinds
@pytest.mark.parametrize("config", ["1111", "0000", "0110"])
def test_certain_selectors_are_one_configuration(kind: str, config: str) -> None:
    network, x = darts(kind).network, torch.randn(3, 2, 6, 6)
    alpha = torch.tensor([[-100.0, 100.0] if bit == "1" else [100.0, -100.0] for bit in config])
    torch.testing.assert_close(
        mixed_features(network, x, 0, alpha), network.features(x, 0, explicit(4, config)[0])
    )


def test_a_tie_is_private() -> None:
    made = darts()
    assert made.choice() == (False,) * 4
    made.selectors.data[1, 1] = 0.1
    assert made.choice() == (False, True, False, False)


def test_first_order_gradient() -> None:
    made, data = darts(), batch()
    loss = made.mixed_loss(data, made.selectors)
    expected = torch.autograd.grad(loss, made.selectors)[0]
    torch.testing.assert_close(made.selector_gradient(data, data, 0.1), expected)


def test_second_order_gradient_is_that_of_the_step_ahead() -> None:
    """Against the exact gradient of L(w - eta grad L(w, alpha), alpha), by autograd."""
    made = DARTS(transfer_network(every).double(), OPTIMIZER, order=2)
    made.begin_task(toy_visit())
    made.double()
    train, held_out = batch(), batch()
    train, held_out = (Batch(b.x.double(), b.y, b.t) for b in (train, held_out))
    rate, alpha = 0.3, made.selectors
    weights = {n: p for n, p in made.network.named_parameters() if p.requires_grad}
    before = {n: p.detach().clone() for n, p in weights.items()}

    def loss(data: Batch, values: dict[str, Any]) -> Any:
        return torch.func.functional_call(_Loss(made, data), values)

    first = loss(train, {f"network.{n}": p for n, p in weights.items()})
    gradients = torch.autograd.grad(first, list(weights.values()), create_graph=True)
    ahead = {
        f"network.{n}": p - rate * g for (n, p), g in zip(weights.items(), gradients, strict=True)
    }
    exact = torch.autograd.grad(loss(held_out, ahead), alpha)[0]
    found = made.selector_gradient(train, held_out, rate)
    torch.testing.assert_close(found, exact, rtol=2e-3, atol=1e-6)
    plain = torch.autograd.grad(made.mixed_loss(held_out, alpha), alpha)[0]
    assert (found - exact).norm() < 0.05 * (plain - exact).norm()
    assert all(torch.equal(p, before[n]) for n, p in weights.items())  # put back


class _Loss(torch.nn.Module):
    """The mixed loss as a module, for `functional_call`."""

    def __init__(self, made: DARTS, data: Batch) -> None:
        super().__init__()
        self.network, self.made, self.data = made.network, (made,), data

    def forward(self) -> Any:
        return self.made[0].mixed_loss(self.data, self.made[0].selectors)


def test_darts_needs_all_configurations() -> None:
    with pytest.raises(ValueError, match=r"DARTS mixes the two forms of every layer by itself"):
        DARTS(transfer_network(partial(every, groups=[2, 2])), OPTIMIZER)


def test_darts_rolls_back_as_any_search() -> None:
    made = darts()
    slots = [
        layer.shared_params.weight.detach().clone() for layer in made.network.transfer_layers()
    ]
    made.selectors.data[0, 1] = 1.0
    for layer in made.network.transfer_layers():
        layer.shared_params.weight.data.add_(1.0)
    made.end_task(toy_visit(), [])  # type: ignore[arg-type]
    layers = made.network.transfer_layers()
    assert torch.equal(layers[0].shared_params.weight, slots[0] + 1)
    assert all(
        torch.equal(x.shared_params.weight, s) for x, s in zip(layers[1:], slots[1:], strict=True)
    )
    assert [layer.in_use for layer in layers] == [True, False, False, False]


def brute_force(kind: str = "hard", first_task: Any = "none") -> BruteForce:
    network = transfer_network(every, small_body(depth=2), kind=kind)
    return BruteForce(network, OPTIMIZER, first_task=first_task)


def drive(made: BruteForce, visit: Any, accuracies: list[float]) -> list[str]:
    """Runs the rounds with planted validation accuracies; moves the weights in each."""
    rounds, names = made.rounds(visit), []
    now = next(rounds)
    for accuracy in accuracies:
        names.append(now.name)
        with torch.no_grad():
            for parameter in made.network.parameters():
                if parameter.requires_grad:
                    parameter.add_(accuracy)
        made.scheduled += 5
        try:
            now = rounds.send({"val/best": accuracy})
        except StopIteration:
            break
    return names


@pytest.mark.parametrize("best", [0, 1, 2, 3])
def test_the_planted_optimum_is_kept_with_its_weights(best: int) -> None:
    made = brute_force()
    made.begin_task(toy_visit(0))
    drive(made, toy_visit(0), [0.5])
    made.end_task(toy_visit(0), [])  # type: ignore[arg-type]
    made.begin_task(toy_visit(1))
    start = {n: p.detach().clone() for n, p in made.network.named_parameters() if p.requires_grad}
    epochs = made.scheduled
    accuracies = [0.5, 0.5, 0.5, 0.5]
    accuracies[best] = 0.75
    assert drive(made, toy_visit(1), accuracies) == ["11", "01", "10", "00"]
    config = made.network.candidates[best]
    assert made.choice() == config
    for name, value in start.items():
        torch.testing.assert_close(made.network.get_parameter(name), value + 0.75)
    assert made.scheduled == epochs + 5  # as many as one training takes
    made.end_task(toy_visit(1), [])  # type: ignore[arg-type]
    assert made.network.configs == {0: config, 1: config}  # the first task was expressed anew
    for layer, shared in zip(made.network.transfer_layers(), config, strict=True):
        assert layer.in_use == shared
        assert set(layer.private) == (set() if shared else {"0", "1"})
        assert set(layer.mapping) == ({"0", "1"} if shared else set())
    assert made.method["tasks"]["2"]["validation_accuracy"] == accuracies


def test_of_equally_good_candidates_the_first_is_kept() -> None:
    made = brute_force()
    made.begin_task(toy_visit(0))
    drive(made, toy_visit(0), [0.5])
    made.begin_task(toy_visit(1))
    drive(made, toy_visit(1), [0.5, 0.7, 0.7, 0.6])
    assert made.choice() == made.network.candidates[1]


@pytest.mark.parametrize(
    ("kind", "first"),
    [("hard", "none"), ("hard", "all"), ("tensor_factored", "all"), ("deconvolved", "all")],
)
@pytest.mark.parametrize("config", ["11", "01", "10", "00"])
def test_expressing_the_first_task_anew_keeps_its_predictions(
    kind: str, first: str, config: str
) -> None:
    made, x = brute_force(kind, first), torch.randn(4, 2, 6, 6)
    made.begin_task(toy_visit(0))
    before = made.network.logits(x, 0)
    made.begin_task(toy_visit(1))
    torch.testing.assert_close(made.network.logits(x, 0), before)
    made.network.set_config(0, explicit(2, config)[0])
    torch.testing.assert_close(made.network.logits(x, 0), before)


@pytest.mark.parametrize("kind", ["tensor_factored", "deconvolved"])
def test_kinds_that_cannot_express_own_weights_are_refused(kind: str) -> None:
    with pytest.raises(ValueError, match=r"give strategy\.first_task=all"):
        brute_force(kind, "none")


def test_brute_force_needs_configurations_to_choose_from() -> None:
    for pattern, message in (
        (top, "one configuration, 1111, so there is nothing to choose"),
        (lambda d: [(True,) * d, (True, False) * (d // 2)], "brute force needs configurations"),
    ):
        with pytest.raises(ValueError, match=f"transfer: .*{message}"):
            BruteForce(transfer_network(pattern), OPTIMIZER)


@pytest.mark.parametrize("kind", ["hard", "tensor_factored"])
@pytest.mark.parametrize("order", [[1, 0, 2], [0, 2, 1]])
def test_first_and_second_are_counted_by_visits(kind: str, order: list[int]) -> None:
    made = brute_force(kind, "none" if kind == "hard" else "all")
    x = torch.randn(4, 2, 6, 6)
    for step, index in enumerate(order):
        visit = toy_visit(index)
        earlier = {other: made.network.logits(x, other) for other in order[:step]}
        made.begin_task(visit)
        for other, scores in earlier.items():
            torch.testing.assert_close(made.network.logits(x, other), scores)
        drive(made, visit, [0.5, 0.5, 0.7, 0.5])
        made.end_task(visit, [])  # type: ignore[arg-type]
    assert made.network.configs[order[0]] == made.network.configs[order[1]]
    assert not made.network.undecided


def test_the_penalty_does_not_push_the_selectors() -> None:
    """As in LASEM it moves the factors alone."""
    made, data = darts("tensor_factored"), batch()
    plain = torch.autograd.grad(
        F.cross_entropy(made.logits(data.x, made.selectors), data.y), made.selectors
    )[0]
    torch.testing.assert_close(made.selector_gradient(data, data, 0.1), plain)
