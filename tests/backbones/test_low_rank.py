"""Low-rank changes of linear maps whose weights stay."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from torch import nn

from lifelong.backbones import Timm, Wrapped
from lifelong.backbones.low_rank import LowRank, adapted, renewed
from tests.backbones.test_blocks import SMALL_VIT
from tests.conftest import Centred


def vit(**options: object) -> Timm:
    return Timm((3, 32, 32), "vit_tiny_patch16_224", options=SMALL_VIT, **options)  # type: ignore[arg-type]


def test_a_change_is_a_times_b_and_zero_at_first() -> None:
    base = nn.Linear(6, 4)
    x, before = torch.randn(3, 6), copy.deepcopy(base)
    made = LowRank(base, rank=2, alpha=8.0)
    assert torch.equal(made(x), before(x))
    nn.init.normal_(made.b)
    whole = before.weight + 4 * made.b @ made.a
    torch.testing.assert_close(made(x), nn.functional.linear(x, whole, before.bias))


def test_a_body_learns_the_changes_alone() -> None:
    body = vit(lora=2)
    learned = dict(body.named_parameters())
    assert learned
    assert all(name.endswith((".a", ".b")) for name in learned)
    before = {name: buffer.clone() for name, buffer in body.named_buffers()}
    optimizer = torch.optim.SGD(body.parameters(), lr=0.1)
    for _ in range(2):
        body(torch.randn(4, 3, 32, 32)).square().mean().backward()
        optimizer.step()
    assert all(torch.equal(before[name], buffer) for name, buffer in body.named_buffers())
    assert any(bool(p.any()) for name, p in learned.items() if name.endswith(".b"))


def test_weights_have_the_names_that_they_had() -> None:
    assert vit().state_dict().keys() <= vit(lora=2).state_dict().keys()


def test_new_blocks_have_the_weights_in_common_and_changes_of_their_own() -> None:
    body = vit(lora=2)
    block = body.units(partial(vit, lora=2))[1]
    nn.init.normal_(next(p for name, p in block.named_parameters() if name.endswith(".b")))
    twin = block.reinitialized()
    shared, own = dict(block.named_buffers()), dict(twin.named_buffers())
    low = [name for name in own if name.endswith("qkv.weight")]
    assert low
    assert all(own[name] is shared[name] for name in low)
    assert not any(bool(p.any()) for name, p in twin.named_parameters() if name.endswith(".b"))
    assert all(p.requires_grad for p in twin.parameters())


def test_statistics_of_new_blocks_are_their_own() -> None:
    """Of a norm of one's own, too: what moves in training is no weight."""
    module = nn.Sequential(Centred(1), nn.Flatten(), nn.Linear(9, 3))
    body = Wrapped(module, (1, 3, 3), lora=2).module
    twin = dict(renewed(body).named_buffers())
    shared = [name for name, tensor in body.named_buffers() if twin[name] is tensor]
    assert "2.weight" in shared
    assert "0.mean" not in shared


def test_what_has_none_is_copied() -> None:
    module = nn.Linear(2, 2)
    assert torch.equal(renewed(module).weight, module.weight)
    assert renewed(module) is not module


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"backbone\.lora=-1.*give a rank of 1 or more"):
        adapted(nn.Linear(2, 2), -1)
    with pytest.raises(ValueError, match=r"backbone\.lora=2: Sequential has no linear maps"):
        adapted(nn.Sequential(nn.Conv2d(3, 3, 1)), 2)
    with pytest.raises(ValueError, match=r"backbone\.lora=2, .* are trained, and"):
        Wrapped(nn.Sequential(nn.Flatten(), nn.Linear(3, 3)), (3, 1, 1), fixed=True, lora=2)
