"""Visual prompts: tokens that are learned stand beside those of an image in every block.

Jia, Tang, Chen, Cardie, Belongie, Hariharan, Lim, "Visual Prompt Tuning", ECCV 2022, equations 6
and 7 (deep): each block gets prompts of its own, whose outputs are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lifelong.backbones.low_rank import Learned, fixed


class Prompted(Learned):
    """A transformer's block that stays, and prompts that are learned.

    Args:
        block: from tokens (b, n, d) to tokens.
        prompts: k, behind the first token.
        width: d.
    """

    def __init__(self, block: nn.Module, prompts: int, width: int) -> None:
        super().__init__()
        self.block = block
        self.prompts = nn.Parameter(torch.empty(prompts, width))
        self.restart()

    def restart(self) -> None:
        """Draws the prompts anew, uniformly as the first layer of a transformer of that width."""
        bound = math.sqrt(6 / (self.prompts.shape[1] + self.prompts.shape[0]))
        nn.init.uniform_(self.prompts, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        own = self.prompts.expand(x.shape[0], -1, -1)
        return without_prompts(self.block(with_prompts(x, own)), own.shape[1])


def with_prompts(x: Tensor, prompts: Tensor) -> Tensor:
    """Tokens (b, n, d) with prompts (b, k, d) behind the first."""
    return torch.cat([x[:, :1], prompts, x[:, 1:]], 1)


def without_prompts(x: Tensor, number: int) -> Tensor:
    """The reverse, of k prompts."""
    return torch.cat([x[:, :1], x[:, 1 + number :]], 1)


def prompted(
    module: nn.Module, names: Sequence[str], shape: Sequence[int], prompts: int
) -> nn.Module:
    """A module that keeps its weights, as buffers, and whose blocks have prompts.

    Args:
        module: from images (b, c, h, w) to features.
        names: of its blocks.
        shape: (c, h, w) of an image.
        prompts: of each block.

    Raises:
        ValueError: no number of prompts, blocks that do not take tokens.
    """
    if prompts < 1:
        raise ValueError(f"backbone.prompts={prompts}: give 1 or more, 0 for none")
    widths: dict[str, int] = {}
    for name in names:
        seen = width_of_tokens(module, name, shape)
        if seen is None:
            raise ValueError(
                f"backbone.prompts={prompts}: {name} of {type(module).__name__} does not take "
                "tokens; give a vision transformer, or 0"
            )
        widths[name] = seen
    for name, width in widths.items():
        parent, _, child = name.rpartition(".")
        block = module.get_submodule(name)
        setattr(module.get_submodule(parent), child, Prompted(block, prompts, width))
    return fixed(module)


def width_of_tokens(module: nn.Module, name: str, shape: Sequence[int]) -> int | None:
    """Length of the tokens that a block takes; None where it takes something else."""
    found: list[int | None] = []

    def note(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        tokens = len(given) == 1 and given[0].dim() == 3
        found.append(given[0].shape[2] if tokens else None)

    hook = module.get_submodule(name).register_forward_pre_hook(note)
    training = module.training
    with torch.no_grad():
        module.eval()(torch.zeros(1, *shape))
    hook.remove()
    module.train(training)
    return found[0] if len(found) == 1 else None
