"""Low-rank adaptation (LoRA): weights stay, and small changes of the linear maps are learned.

Hu, Shen, Wallis, Allen-Zhu, Li, Wang, Wang, Chen, "LoRA: Low-Rank Adaptation of Large Language
Models", ICLR 2022, equation 3: h = W x + alpha / r B A x, of which A and B alone are trained.
"""

from __future__ import annotations

import copy
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.backbones.moving import moves


class Learned(nn.Module):
    """What is learned beside weights that stay: its parameters are all that a body then has."""

    def restart(self) -> None:
        """Draws them anew."""
        raise NotImplementedError


class LowRank(Learned):
    """A linear map that stays, and a change of rank r that is learned; at first the change is zero.

    Args:
        base: the map, whose weight and bias become buffers.
        rank: r.
        alpha: scale of the change, over the rank.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, base: nn.Linear, rank: int, alpha: float) -> None:
        super().__init__()
        outputs, inputs = base.weight.shape
        self.register_buffer("weight", base.weight.detach())
        self.register_buffer("bias", None if base.bias is None else base.bias.detach())
        self.scale = alpha / rank
        self.a = nn.Parameter(torch.empty(rank, inputs))
        self.b = nn.Parameter(torch.zeros(outputs, rank))
        self.restart()

    def restart(self) -> None:
        """Draws A anew as linear maps are drawn, and sets B to zero."""
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))
        nn.init.zeros_(self.b)

    def forward(self, x: Tensor) -> Tensor:
        base = F.linear(x, self.weight, self.bias)
        return base + self.scale * F.linear(F.linear(x, self.a), self.b)


def adapted(module: nn.Module, rank: int, alpha: float | None = None) -> nn.Module:
    """A module that keeps its weights, as buffers, and whose linear maps have low-rank changes.

    Raises:
        ValueError: a rank or scale out of range, a module without linear maps.

    >>> made = adapted(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)), rank=2)
    >>> [name for name, _ in made.named_parameters()]
    ['0.a', '0.b', '2.a', '2.b']
    """
    if rank < 1 or (alpha is not None and alpha <= 0):
        raise ValueError(
            f"backbone.lora={rank}, backbone.lora_alpha={alpha}: give a rank of 1 or more, and a "
            "scale above 0, or null"
        )
    maps = [
        (parent, name, child)
        for parent in module.modules()
        for name, child in parent.named_children()
        if type(child) is nn.Linear  # others are used in ways of their own
    ]
    for parent, name, child in maps:
        setattr(parent, name, LowRank(child, rank, rank if alpha is None else alpha))
    if not maps:
        raise ValueError(
            f"backbone.lora={rank}: {type(module).__name__} has no linear maps to be changed; give "
            "a vision transformer, or 0"
        )
    return fixed(module)


def fixed(module: nn.Module, whole: bool = True) -> nn.Module:
    """A module some of whose weights are buffers, so that nothing that trains weights finds them.

    Args:
        module: is changed.
        whole: all weights but those of what is `Learned`; else those that ask for no gradient.
    """
    for part in module.modules():
        for name, p in list(part.named_parameters(recurse=False)):
            if not isinstance(part, Learned) if whole else not p.requires_grad:
                delattr(part, name)
                part.register_buffer(name, p.detach())
    return module


def renewed(module: nn.Module) -> nn.Module:
    """A copy that has the weights which stay in common with the original, and learns anew."""
    if not any(isinstance(part, Learned) for part in module.modules()):
        return copy.deepcopy(module)
    statistics = {
        id(tensor)
        for part in module.modules() if moves(part)
        for name, tensor in part.named_buffers(recurse=False) if name not in ("weight", "bias")
    }  # fmt: skip
    stays = {id(t): t for t in module.buffers() if id(t) not in statistics}
    made = copy.deepcopy(module, stays)
    for part in made.modules():
        if isinstance(part, Learned):
            part.restart()
    return made
