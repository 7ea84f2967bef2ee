"""LASEM's steps against hand calculations and plain networks (LASEM spec, checks 2 and 5)."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hydra.utils import instantiate

from lifelong import LASEM, LASEMER, MultiHead, by_class, convnet
from lifelong.configuration.complete import complete
from lifelong.configuration.options import check_options
from lifelong.data import Batch
from lifelong.data.sources import digits
from lifelong.optim import TensorFlowRMSProp
from lifelong.strategies import Strategy
from lifelong.transfer import HardTransferLayer, Narrowing, TransferNetwork, every, explicit, top
from lifelong.transfer.config import pattern_code
from tests.conftest import configured, toy_visit, transfer_network
from tests.strategies.searches import lasem


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
    certain = lasem(narrowing=Narrowing(1e-3))
    whole = lasem()
    for strategy in (certain, whole):
        strategy.begin_task(toy_visit())
        strategy.prior.counts[3] = 1e9  # configuration 3 wins
        strategy.prior.pi.copy_((strategy.prior.counts + 1) / (strategy.prior.counts + 1).sum())
    whole.load_state_dict(certain.state_dict(), strict=False)  # it asks nothing of narrowing
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


@pytest.mark.parametrize(
    "given",
    [
        {"below": -0.1}, {"below": 1.0}, {"recheck": 0}, {"commit_after": -1},
        {"commit_above": 1.0}, {"commit_above": 0.0},
    ],
)  # fmt: skip
def test_refuses_narrowing_out_of_range(given: dict[str, Any]) -> None:
    ((key, value),) = given.items()
    with pytest.raises(ValueError, match=rf"strategy.narrowing.{key}={value}: give"):
        Narrowing(**given)


def epochs(strategy: LASEM, number: int, batches: int = 2) -> list[int]:
    """Epochs as Lightning would run them; gives how many configurations each ends with."""
    data = Batch(torch.randn(4, 2, 6, 6), torch.tensor([0, 1, 2, 0]), torch.zeros(4).long())
    found = []
    for _ in range(number):
        strategy.active.begin_epoch()
        for _ in range(batches):
            strategy.training_loss(data)
        strategy.active.end_epoch(strategy.prior.pi)
        found.append(len(strategy.active.tree.configs))
    return found


def ahead(strategy: LASEM, winner: int, counts: float = 1e9) -> LASEM:
    """One configuration has won so many batches."""
    strategy.prior.counts[winner] = counts
    strategy.prior.pi.copy_((strategy.prior.counts + 1) / (strategy.prior.counts + 1).sum())
    return strategy


def asked(strategy: LASEM, number: int) -> list[int]:
    """The epochs, from 0, in which it was asked anew which configurations are unlikely."""
    found: list[int] = []
    decide = strategy.active.decide

    def noted(q: torch.Tensor) -> None:
        found.append(len(done))
        decide(q)

    done: list[int] = []
    strategy.active.decide = noted  # type: ignore[method-assign]
    for _ in range(number):
        done += epochs(strategy, 1)
    return found


def test_what_stays_unlikely_is_asked_at_growing_distances() -> None:
    strategy = lasem(narrowing=Narrowing(1e-3, recheck=8))
    strategy.begin_task(toy_visit())
    ahead(strategy, 3)
    assert asked(strategy, 30) == [0, 1, 2, 4, 8, 16, 24]
    all_stay = lasem(narrowing=Narrowing(1e-30, recheck=8))
    all_stay.begin_task(toy_visit())
    assert asked(all_stay, 30) == [0, 1, 2, 4, 8, 16, 24]
    each = lasem(narrowing=Narrowing(1e-3))
    each.begin_task(toy_visit())
    assert asked(ahead(each, 3), 4) == [0, 1, 2, 3]


def test_another_answer_is_asked_about_soon() -> None:
    strategy = lasem(narrowing=Narrowing(1e-3, recheck=8))
    strategy.begin_task(toy_visit())
    ahead(strategy, 3)
    epochs(strategy, 9)
    ahead(strategy, 7, 1e12)
    # In epoch 16 both are likely, the new one and that of before; in 17 the new one alone.
    assert asked(strategy, 12) == [7, 8, 9, 11]
    assert strategy.active.tree.configs == [strategy.network.candidates[7]]


def test_a_configuration_that_stays_ahead_goes_on_alone() -> None:
    strategy = lasem(narrowing=Narrowing(commit_after=3, commit_above=0.5))
    strategy.begin_task(toy_visit())
    ahead(strategy, 3, 30)  # .65 of the prior
    assert epochs(strategy, 5) == [16, 16, 16, 1, 1]
    assert strategy.active.tree.configs == [strategy.network.candidates[3]]
    assert strategy.choice() == strategy.network.candidates[3]
    ahead(strategy, 7, 1e9)
    assert epochs(strategy, 1) == [1]  # for good
    strategy.begin_task(toy_visit())
    assert epochs(strategy, 1) == [16]


def test_the_epochs_ahead_begin_anew_when_another_one_is() -> None:
    strategy = lasem(narrowing=Narrowing(commit_after=2, commit_above=0.5))
    strategy.begin_task(toy_visit())
    epochs(ahead(strategy, 3, 1e9), 1)
    epochs(ahead(strategy, 7, 1e12), 1)
    assert not strategy.active.committed
    strategy.prior.restart()
    epochs(strategy, 1, batches=0)  # none is ahead
    assert strategy.active.held.tolist() == [0, 0]


def test_narrowing_goes_on_from_a_checkpoint() -> None:
    one = lasem(narrowing=Narrowing(1e-3, 8, 20, 0.5))
    one.begin_task(toy_visit())
    ahead(one, 3)
    epochs(one, 6)
    other = lasem(narrowing=Narrowing(1e-3, 8, 20, 0.5))
    other.begin_task(toy_visit())
    other.load_state_dict(one.state_dict())
    assert asked(other, 12) == asked(one, 12) == [2, 10]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pseudo_count": 0.0}, r"strategy\.pseudo_count=0\.0: give a number above 0"),
        ({"prior": "fixed", "fixed": "1111", "fixed_probability": 0.05}, "above 0.0625"),
        (
            {"prior": "fixed", "fixed": "1111", "narrowing": Narrowing(0.01)},
            r"strategy\.narrowing\.below=0\.01: with strategy\.prior=fixed",
        ),
        (
            {"prior": "fixed", "fixed": "1111", "narrowing": Narrowing(commit_after=2)},
            r"strategy\.narrowing\.commit_after=2: with strategy\.prior=fixed",
        ),
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


def test_replay_adds_the_loss_of_memory_images_under_their_tasks_configurations() -> None:
    torch.manual_seed(0)
    body = partial(convnet, (1, 8, 8), [3, 4], [2, 2])
    network = TransferNetwork(body, MultiHead, HardTransferLayer, every)
    method = LASEMER(network, partial(torch.optim.SGD, lr=0.1), memory=30, pseudo_count=1e9)
    stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=10)
    first, second = stream.visits[:2]
    method.begin_task(first)
    method.training_loss(first.train[torch.arange(20)])
    method.end_task(first, [])
    method.begin_task(second)
    batch = second.train[torch.arange(10)]
    torch.manual_seed(5)
    loss = method.training_loss(batch)
    torch.manual_seed(5)
    old, _ = method.memory.sample(10, without=1)
    assert set(old.t.tolist()) == {0}
    wanted = F.cross_entropy(network.logits(old.x, 0), old.y)
    parts = LASEM.training_loss(method, batch)
    torch.testing.assert_close(loss, parts + wanted)
    assert len(method.memory) == 30
    slopes = torch.autograd.grad(wanted, [p for p in network.parameters() if p.requires_grad],
                                 allow_unused=True)  # fmt: skip
    own = network.transfer_layers()[0].private
    frozen = [p for key in own if key == "0" for p in own[key].parameters()]
    assert not any(p.requires_grad for p in frozen)
    assert any(slope is not None for slope in slopes) == any(network.configs[0])
