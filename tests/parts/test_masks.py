"""Masks and magnitude pruning (Tickets spec, 4 and 11.2, 11.3, 11.14)."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from torch import nn

from lifelong.parts.masks import Masks
from tests.conftest import configured


def weights(seed: int = 0) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"a": (3, 2, 3, 3), "b": (5, 7), "c": (1,)}
    return {n: nn.Parameter(torch.randn(s, generator=generator)) for n, s in shapes.items()}


def test_network_and_survivors_of_repeated_pruning() -> None:
    """The counts of the specification's table, on the network that they belong to."""
    config = configured("data=cifar100", "backbone=preact_resnet18")
    body = instantiate(config.backbone, _convert_="all")()
    convolutions = {n: p for n, p in body.named_parameters() if p.dim() == 4}
    assert len(convolutions) == 20
    assert sum(p.numel() for p in convolutions.values()) == 11_159_232
    assert sum(p.numel() for p in body.parameters()) == 11_159_232 + 6_784
    assert body(torch.zeros(2, 3, 32, 32)).shape == (2, 512) == (2, body.features)
    masks = Masks(convolutions)
    # Any distinct sizes give the same counts; a sorted vector is quick to sort.
    with torch.no_grad():
        for p in convolutions.values():
            p.copy_(torch.arange(p.numel()).view(p.shape))
    expected = {1: 8_927_386, 2: 7_141_909, 4: 4_570_822, 5: 3_656_658}
    for number in range(1, 6):
        masks.prune(convolutions, 0.2)
        if number in expected:
            assert masks.kept() == expected[number]
    assert masks.remaining() == pytest.approx(0.32768, abs=1e-6)


def test_further_counts_of_the_table() -> None:
    count, rounds = 11_159_232, 26
    expected = {9: 1_497_767, 12: 766_857, 16: 314_105, 17: 251_284, 26: 33_726}
    for number in range(1, rounds + 1):
        count -= round(0.2 * count)
        assert expected.get(number, count) == count


@pytest.mark.parametrize("locked", [False, True])
def test_the_smallest_of_all_layers_go(locked: bool) -> None:
    named = weights()
    masks, lock = Masks(named), Masks(named)
    lock.prune(named, 0.9)  # what it keeps, the largest, cannot go
    for _ in range(2):
        free = [
            (float(p.detach().flatten()[place].abs()), name, place)
            for name, p in named.items()
            for place in range(p.numel())
            if masks.keep[name].flatten()[place]
            and not (locked and lock.keep[name].flatten()[place])
        ]
        gone = sorted(free)[: round(0.3 * len(free))]
        before = masks.kept()
        masks.prune(named, 0.3, lock if locked else None)
        assert masks.kept() == before - len(gone)
        assert not any(masks.keep[name].flatten()[place] for _, name, place in gone)
    if locked:
        assert (masks.flat() | ~lock.flat()).all()


def test_of_equal_weights_the_first_go() -> None:
    named = {"a": nn.Parameter(torch.ones(4)), "b": nn.Parameter(torch.ones(4))}
    masks = Masks(named)
    masks.prune(named, 0.6)  # round(4.8)
    assert masks.flat().tolist() == [False] * 5 + [True] * 3
    for rate in (-0.1, 1.1):
        with pytest.raises(ValueError, match=f"rate={rate}"):
            masks.prune(named, rate)


@pytest.mark.parametrize("hold_gradients", [False, True])
def test_training_under_masks_is_training_of_a_product(hold_gradients: bool) -> None:
    """Fifty steps with momentum and decay, against weights times masks (11.3)."""
    sgd = partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=0.01)
    named = {"w": nn.Parameter(torch.randn(6, 5, dtype=torch.double))}
    masks = Masks(named)
    masks.prune(named, 0.5)
    kept = masks.keep["w"]
    masks.hold(named)
    plain = nn.Parameter(named["w"].detach().clone())
    one, other = sgd(named.values()), sgd([plain])
    for _ in range(50):
        x = torch.randn(8, 5, dtype=torch.double)
        for optimizer, used in ((one, named["w"]), (other, plain * kept)):
            optimizer.zero_grad()
            ((x @ used.T).tanh() - 0.3).square().sum().backward()
            if optimizer is one and hold_gradients:
                masks.hold_gradients(named)
            optimizer.step()
        masks.hold(named)
        assert not named["w"].detach()[~kept].any()
    torch.testing.assert_close(named["w"].detach(), plain.detach() * kept, rtol=0, atol=1e-12)


def test_packed_masks_come_back_bit_for_bit() -> None:
    named = weights()  # 54 + 35 + 1 entries: no multiple of 8
    masks = Masks(named)
    masks.prune(named, 0.37)
    content = masks.packed()
    assert len(content["bits"]) == 12
    again = Masks(named)
    again.load_state_dict(masks.state_dict())
    assert torch.equal(again.flat(), masks.flat())
    assert again.by_layer() == masks.by_layer()
    assert again.remaining() == pytest.approx(masks.kept() / 90)
    with pytest.raises(ValueError, match="a differs"):
        Masks({"b": named["b"]}).unpack(content)
    content["bits"] = content["bits"].clone()
    content["bits"][0] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        again.unpack(content)


def test_of_every_layer_the_same_share_goes() -> None:
    named = weights()
    masks = Masks(named)
    masks.prune(named, 0.5, ranking="layerwise")
    for name, kept in masks.keep.items():
        sizes = named[name].detach().abs()
        assert int(kept.sum()) == kept.numel() - round(0.5 * kept.numel())
        if kept.numel() > 1:
            assert sizes[kept].min() > sizes[~kept].max()


def test_any_weights_go_by_chance() -> None:
    """As many as by size, others each time, as likely everywhere."""
    named, gone = weights(), torch.zeros(90)
    for seed in range(400):
        torch.manual_seed(seed)
        masks = Masks(named)
        masks.prune(named, 0.3, ranking="random")
        assert masks.kept() == 90 - 27
        gone += ~masks.flat()
    assert (gone / 400 - 0.3).abs().max() < 0.1  # 4.4 standard deviations


@pytest.mark.parametrize("ranking", ["layerwise", "random"])
def test_locked_entries_stay_whatever_the_ranking(ranking: Any) -> None:
    named = weights()
    masks, lock = Masks(named), Masks(named)
    lock.prune(named, 0.5)
    masks.prune(named, 1.0, lock, ranking)
    assert torch.equal(masks.flat(), lock.flat())
