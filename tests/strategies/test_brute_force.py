"""Brute force over planted accuracies (LASEM spec, check 19)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lifelong.strategies import BruteForce
from lifelong.transfer import every, explicit, top
from tests.conftest import small_body, toy_visit, transfer_network
from tests.strategies.searches import OPTIMIZER


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
