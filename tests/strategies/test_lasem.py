"""LASEM's steps against hand calculations and plain networks (LASEM spec, checks 1, 2, 5)."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from lifelong.configuration.complete import complete
from lifelong.configuration.options import check_options
from lifelong.data import Batch
from lifelong.optim import TensorFlowRMSProp
from lifelong.strategies import LASEM, Strategy
from lifelong.transfer import Pattern, every, explicit, top
from lifelong.transfer.config import pattern_code
from lifelong.transfer.posterior import first_max, posterior
from tests.conftest import configured, small_body, toy_visit, transfer_network

PROBABILITIES = torch.tensor([(0.5, 0.2), (0.4, 0.4), (0.9, 0.1), (0.3, 0.3)]).double()


def lasem(pattern: Pattern = every, depth: int = 4, dropout: float = 0.0, **options: Any) -> LASEM:
    network = transfer_network(pattern, small_body(depth=depth), dropout)
    return LASEM(network, partial(TensorFlowRMSProp, lr=0.01), **options)


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


def steps(strategy: Strategy, number: int = 3) -> None:
    """Optimizer steps on fixed batches, without Lightning."""
    optimizer = strategy.make_optimizer([p for p in strategy.parameters() if p.requires_grad])
    generator = torch.Generator().manual_seed(5)
    for _ in range(number):
        x = torch.randn(4, 2, 6, 6, generator=generator)
        loss = strategy.training_loss(Batch(x, torch.tensor([0, 1, 2, 0]), torch.zeros(4).long()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@pytest.mark.parametrize("figures", ["1111", "0000", "0110"])
def test_certain_posterior_is_plain_training(figures: str) -> None:
    """Check 5: one-hot on a configuration equals a step of the network that has it."""
    config = explicit(4, figures)
    certain = lasem(prior="fixed", fixed=figures, fixed_probability=1.0)
    plain = Strategy(transfer_network(lambda depth: config), partial(TensorFlowRMSProp, lr=0.01))
    visit = toy_visit()
    certain.begin_task(visit)
    plain.begin_task(visit)
    slots = [dict(layer.shared_params.state_dict()) for layer in certain.network.transfer_layers()]
    slots = [{k: v.clone() for k, v in slot.items()} for slot in slots]
    for ours, theirs in zip(
        certain.network.transfer_layers(), plain.network.transfer_layers(), strict=True
    ):
        theirs.shared_params.load_state_dict(ours.shared_params.state_dict())
        for key, own in theirs.private.items():
            own.load_state_dict(ours.private[key].state_dict())
    plain.network.heads.load_state_dict(certain.network.heads.state_dict())
    steps(certain)
    steps(plain)
    x = torch.randn(4, 2, 6, 6)
    for ours, theirs in zip(
        certain.network.transfer_layers(), plain.network.transfer_layers(), strict=True
    ):
        for key, value in theirs.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[key], value, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        certain.network.heads(certain.network.features(x, 0, config[0]), 0),
        plain.network.logits(x, 0),
        rtol=0,
        atol=1e-6,
    )
    for shared, layer, slot in zip(
        config[0], certain.network.transfer_layers(), slots, strict=True
    ):
        moved = any(
            not torch.equal(v, layer.shared_params.state_dict()[k]) for k, v in slot.items()
        )
        assert moved == shared


def test_fixed_prior() -> None:
    strategy = lasem(prior="fixed", fixed="1100", fixed_probability=0.7)
    index = strategy.network.candidates.index(explicit(4, "1100")[0])
    assert strategy.prior.pi[index] == pytest.approx(0.7)
    assert strategy.prior.pi.sum() == pytest.approx(1.0)
    strategy.begin_task(toy_visit())
    before = strategy.prior.pi.clone()
    lopsided = torch.zeros(16, 4)
    lopsided[3] = 50.0
    assert torch.equal(strategy.prior.posterior(lopsided), before)  # pi = q = this vector
    steps(strategy)
    assert torch.equal(strategy.prior.pi, before)
    assert strategy.choice() == strategy.network.candidates[index]


def test_counts_add_one_a_batch_and_begin_anew_with_a_task() -> None:
    strategy = lasem()
    strategy.begin_task(toy_visit(0))
    steps(strategy, 7)
    assert strategy.prior.counts.sum() == 7
    torch.testing.assert_close(strategy.prior.pi, (strategy.prior.counts + 1) / (16 + 7))
    strategy.network.commit(0, strategy.choice())
    strategy.begin_task(toy_visit(1))
    assert torch.equal(strategy.prior.pi, torch.full((16,), 1 / 16))


def test_before_training_everything_is_shared() -> None:
    strategy = lasem()
    strategy.begin_task(toy_visit())
    assert strategy.choice() == top(4)[0]


def test_dropout_masks_differ_between_configurations_and_not_in_the_e_step() -> None:
    strategy = lasem(dropout=0.5)
    strategy.begin_task(toy_visit())
    seen = []

    def watch(module: torch.nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        seen.append((module.training, inputs[0], output))

    strategy.network.heads.head_for(0)[0].register_forward_hook(watch)
    steps(strategy, 1)
    (first_training, first_in, first_out), (second_training, second_in, second_out) = seen
    assert not first_training
    assert second_training
    assert torch.equal(first_in, first_out)
    assert torch.equal(first_in, second_in)
    masks = (second_out != 0).view(16, -1)
    assert len({tuple(mask.tolist()) for mask in masks}) > 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior": "fixed", "fixed": "110"}, "strategy.fixed=110: with strategy.prior=fixed give"),
        ({"prior": "fixed"}, "strategy.fixed=None: with strategy.prior=fixed give one of the 16"),
        ({"prior": "fixed", "fixed": "1100", "fixed_probability": 0.0}, "fixed_probability=0.0"),
    ],
)
def test_refusals(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lasem(**options)


def test_loss_is_the_posterior_weighted_mean() -> None:
    strategy = lasem()
    strategy.begin_task(toy_visit())
    x, y = torch.randn(4, 2, 6, 6), torch.tensor([0, 1, 2, 0])
    losses = []
    for config in strategy.network.candidates:
        scores = strategy.network.heads(strategy.network.features(x, 0, config), 0)
        losses.append(F.cross_entropy(scores, y, reduction="none"))
    log_p = -torch.stack(losses)
    q = torch.softmax(log_p.sum(1), 0)
    expected = (q * -log_p.mean(1)).sum()
    found = strategy.training_loss(Batch(x, y, torch.zeros(4).long()))
    torch.testing.assert_close(found, expected)


def test_pruned_branches_are_not_evaluated_and_hardly_matter() -> None:
    """From the second epoch on, what stays below the threshold is left out."""
    certain = lasem(prune_below=1e-3)
    whole = lasem()
    for strategy in (certain, whole):
        strategy.begin_task(toy_visit())
        strategy.prior.counts[3] = 1e9  # configuration 3 wins
        strategy.prior.pi.copy_((strategy.prior.counts + 1) / (strategy.prior.counts + 1).sum())
    whole.load_state_dict(certain.state_dict())
    x, labels = torch.randn(4, 2, 6, 6), torch.tensor([0, 1, 2, 0])
    data = Batch(x, labels, torch.zeros(4).long())
    for epoch in range(2):
        certain.active.begin_epoch()
        for step in range(3):
            losses = [strategy.training_loss(data) for strategy in (certain, whole)]
            torch.testing.assert_close(losses[0], losses[1], rtol=0, atol=1e-3)
            evaluated = len(certain.active.tree.configs)
            # Asked with the first batch of an epoch, of it and of the epoch before.
            assert evaluated == (1 if epoch == 1 else 16), (epoch, step)
            if epoch == 1:
                assert certain.active.tree.configs == [certain.network.candidates[3]]
    torch.testing.assert_close(certain.prior.pi, whole.prior.pi)


def test_pruning_keeps_branches_that_together_reach_the_threshold() -> None:
    strategy = lasem(depth=2, prune_below=0.1)
    strategy.begin_task(toy_visit())
    strategy.active.recent.copy_(torch.tensor([1.80, 0.10, 0.08, 0.04, 2.0]))
    strategy.active.decide(
        torch.tensor([0.9, 0.05, 0.04, 0.02])
    )  # .02 + .04 < .1 <= .02 + .04 + .05
    assert [strategy.network.candidates.index(c) for c in strategy.active.tree.configs] == [0, 1]


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_refuses_a_threshold_that_is_no_share(value: float) -> None:
    with pytest.raises(ValueError, match=rf"strategy.prune_below={value}"):
        lasem(prune_below=value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pseudo_count": 0.0}, r"strategy\.pseudo_count=0\.0: give a number above 0"),
        ({"prior": "fixed", "fixed": "1111", "fixed_probability": 0.05}, "above 0.0625"),
        ({"prior": "fixed", "fixed": "1111", "prune_below": 0.01}, r"strategy\.prune_below=0\.01"),
    ],
)
def test_refuses_values_out_of_range(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lasem(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["em=release", "pseudo_count=2"], "only with strategy.prior=count"),
        (["fixed=1100"], "strategy.fixed=1100: only with strategy.prior=fixed"),
        (["fixed_probability=0.5"], "only with strategy.prior=fixed"),
        (["prior=fixed", "fixed=1111", "likelihood=mean"], "has no effect"),
    ],
)
def test_options_without_effect_are_refused(options: list[str], message: str) -> None:
    config = configured("strategy=lasem_hps", *(f"strategy.{option}" for option in options))
    complete(config)
    with pytest.raises(ValueError, match=message):
        check_options(config)


def test_configurations_are_understood_as_typed() -> None:
    """Hydra reads 1100 as a number and 0011 as a text."""
    config = configured("strategy=lasem_hps", "strategy.prior=fixed", "strategy.fixed=1100")
    complete(config)
    check_options(config)
    strategy = instantiate(config.strategy, _convert_="all")
    assert pattern_code(strategy.choice()) == "1100"
    for typed in ("1100", "0011"):
        pattern = configured("strategy=hps", "transfer=pattern", f"transfer.layers={typed}")
        complete(pattern)
        check_options(pattern)
        assert [pattern_code(c) for c in instantiate(pattern.transfer)(4)] == [typed]


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


@pytest.mark.parametrize("strategy", ["lasem_hps", "brute_force_hps", "darts_hps"])
def test_one_configuration_is_no_choice(strategy: str) -> None:
    config = configured(f"strategy={strategy}", "transfer=top2", "backbone=conv4")
    with pytest.raises(InstantiationException, match="nothing to choose"):
        instantiate(config.strategy, _convert_="all")
