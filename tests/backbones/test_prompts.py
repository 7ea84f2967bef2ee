"""Learned tokens beside those of an image."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

from lifelong.backbones import Timm, Wrapped
from lifelong.backbones.prompts import Prompted
from tests.backbones.test_blocks import SMALL_VIT


def vit(**options: Any) -> Timm:
    return Timm((3, 32, 32), "vit_tiny_patch16_224", options=SMALL_VIT, **options)


def test_prompts_stand_behind_the_first_token_and_are_taken_out() -> None:
    seen: list[torch.Tensor] = []

    class Block(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x)
            return 2 * x

    made = Prompted(Block(), 2, 3)
    x = torch.randn(4, 5, 3)
    assert torch.equal(made(x), 2 * x)
    assert torch.equal(seen[0][:, 0], x[:, 0])
    assert torch.equal(seen[0][:, 1:3], made.prompts.expand(4, -1, -1))
    assert torch.equal(seen[0][:, 3:], x[:, 1:])


def test_a_body_learns_the_prompts_alone() -> None:
    body, plain = vit(prompts=3), vit()
    names = [name for name, _ in body.named_parameters()]
    assert names == [f"module.blocks.{number}.prompts" for number in range(3)]
    state = {name.replace(".block.", "."): value for name, value in body.state_dict().items()}
    plain.load_state_dict({name: state[name] for name in plain.state_dict()})
    x = torch.randn(2, 3, 32, 32)
    assert not torch.allclose(body(x), plain(x))
    for block in body.module.blocks:
        block.prompts = nn.Parameter(block.prompts.detach()[:0])  # none of them
    torch.testing.assert_close(body(x), plain(x))
    learned = vit(prompts=3)
    before = {name: buffer.clone() for name, buffer in learned.named_buffers()}
    learned(x).sum().backward()
    assert all(bool(p.grad.any()) for p in learned.parameters() if p.grad is not None)
    assert all(p.grad is not None for p in learned.parameters())
    assert all(torch.equal(before[name], value) for name, value in learned.named_buffers())


def test_new_blocks_have_prompts_of_their_own() -> None:
    body = vit(prompts=3)
    block = body.units(partial(vit, prompts=3))[1]
    twin = block.reinitialized()
    (own,), (other,) = (list(each.parameters()) for each in (block, twin))
    assert not torch.equal(own, other)
    shared, buffers = dict(block.named_buffers()), dict(twin.named_buffers())
    assert all(shared[name] is buffer for name, buffer in buffers.items())


def test_refuses() -> None:
    with pytest.raises(ValueError, match=r"backbone\.prompts=-1: give 1 or more"):
        vit(prompts=-1)
    layers = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.Conv2d(3, 3, 1))
    with pytest.raises(ValueError, match=r"backbone\.prompts=2: 0 of Sequential does not take"):
        Wrapped(layers, (3, 8, 8), prompts=2)
    with pytest.raises(ValueError, match=r"backbone\.prompts=2: are trained, and backbone"):
        vit(prompts=2, fixed=True)
