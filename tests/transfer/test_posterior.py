"""Posterior and prior over configurations by hand (LASEM spec, check 1)."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lifelong.transfer.posterior import Narrowing, first_max, posterior
from tests.conftest import toy_visit
from tests.strategies.searches import lasem

PROBABILITIES = torch.tensor([(0.5, 0.2), (0.4, 0.4), (0.9, 0.1), (0.3, 0.3)]).double()


@pytest.mark.parametrize(
    ("em", "posteriors", "priors"),
    [
        (
            "paper",
            [(0.2273, 0.3636, 0.2045, 0.2045), (0.1667, 0.5333, 0.15, 0.15)],
            [(0.2, 0.4, 0.2, 0.2), (1 / 6, 1 / 2, 1 / 6, 1 / 6)],
        ),
        (
            "release",
            [(0.2258, 0.2581, 0.3226, 0.1935), (0.1968, 0.2570, 0.4016, 0.1446)],
            [(0.2258, 0.2581, 0.3226, 0.1935), (0.2113, 0.2575, 0.3621, 0.1691)],
        ),
    ],
)
def test_posterior_and_prior_by_hand(em: Any, posteriors: Any, priors: Any) -> None:
    strategy = lasem(depth=2, em=em)
    for q, pi in zip(posteriors, priors, strict=True):
        found = strategy.prior.posterior(PROBABILITIES.log().float())
        torch.testing.assert_close(found, torch.tensor(q), rtol=0, atol=6e-5)
        strategy.prior.update(found)
        torch.testing.assert_close(strategy.prior.pi, torch.tensor(pi), rtol=0, atol=6e-5)


@pytest.mark.parametrize("depth", [2, 3, 4, 5, 6])
@pytest.mark.parametrize("likelihood", ["product", "mean", "geometric_mean"])
def test_posterior_equals_bayes(depth: int, likelihood: Any) -> None:
    p = torch.rand(2**depth, 5, dtype=torch.double)
    prior = torch.rand(2**depth, dtype=torch.double)
    prior /= prior.sum()
    batch = {"product": p.prod(1), "mean": p.mean(1), "geometric_mean": p.prod(1) ** 0.2}[
        likelihood
    ]
    expected = prior * batch / (prior * batch).sum()
    torch.testing.assert_close(posterior(prior, p.log(), likelihood), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("likelihood", ["product", "mean", "geometric_mean"])
def test_posterior_is_finite_for_tiny_probabilities(likelihood: Any) -> None:
    p = torch.full((4, 10), 1e-300, dtype=torch.double)
    p[1] *= 5
    q = posterior(torch.full((4,), 0.25, dtype=torch.double), p.log(), likelihood)
    assert q.isfinite().all()
    assert q.sum() == pytest.approx(1.0)
    assert q.argmax() == 1


def test_ties_go_to_the_first() -> None:
    assert first_max(torch.tensor([0.1, 0.4, 0.4, 0.1])).tolist() == [0, 1, 0, 0]


def test_pruning_keeps_branches_that_together_reach_the_threshold() -> None:
    strategy = lasem(depth=2, narrowing=Narrowing(0.1))
    strategy.begin_task(toy_visit())
    strategy.active.recent.copy_(torch.tensor([1.80, 0.10, 0.08, 0.04, 2.0]))
    strategy.active.decide(
        torch.tensor([0.9, 0.05, 0.04, 0.02])
    )  # .02 + .04 < .1 <= .02 + .04 + .05
    assert [strategy.network.candidates.index(c) for c in strategy.active.tree.configs] == [0, 1]


def test_a_configuration_returns_after_its_posterior_was_zero() -> None:
    """The product of many images leaves nothing of a configuration in the first batch."""
    strategy = lasem(likelihood="product", prior="running_mean")
    log_p = torch.zeros(16, 4)
    log_p[3] = -500.0
    for _ in range(2):
        q = strategy.prior.posterior(log_p)
        strategy.prior.update(q)
        log_p = torch.full((16, 4), -500.0)  # now the third one alone explains the batch
        log_p[3] = 0.0
    assert q[3] > 0.99


def test_one_configuration_is_left_whatever_the_threshold() -> None:
    strategy = lasem(depth=2, narrowing=Narrowing(0.99999999))
    strategy.begin_task(toy_visit())
    strategy.active.recent.copy_(torch.tensor([0.1, 0.2, 0.3, 0.39999995, 1.0]))
    strategy.active.decide(torch.tensor([0.1, 0.2, 0.3, 0.39999995]))
    assert strategy.active.tree.configs == [strategy.network.candidates[3]]
