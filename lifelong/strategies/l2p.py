"""Learning to prompt (L2P): each image is given the prompts whose keys are nearest to it.

Wang, Zhang, Lee, Zhang, Sun, Ren, Su, Perot, Dy, Pfister, "Learning to Prompt for Continual
Learning", CVPR 2022, section 4.

Departure: the classifier reads the body's own feature, as in the re-implementation that CODA-Prompt
compares with; in the paper the mean of what the prompts come to.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.networks import Network
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.prompting import Prompting, Prompts


class L2P(Prompting):
    """A pool of prompts that all tasks share.

    Args:
        network: see `Prompting`.
        optimizer: see `Prompting`.
        schedule: see `Prompting`.
        pool: M, prompts.
        chosen: N, of them for each image, those with the nearest keys by cosine.
        length: L_p, tokens of a prompt.
        pull: lambda, of the distance to the keys chosen (equation 5).

    Raises:
        ValueError: a value out of range; see `Prompting`.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import L2P, IncrementalHead, Network
    >>> from lifelong.backbones import Timm
    >>> body = partial(Timm, (1, 8, 8), "test_vit", options={"patch_size": 4})
    >>> method = L2P(Network(body, IncrementalHead), partial(SGD, lr=0.1), chosen=2, length=3)
    >>> method.prompts(torch.zeros(7, 64), None).tokens.shape
    torch.Size([7, 6, 64])
    """

    divides: ClassVar[bool] = True

    def __init__(
        self,
        network: Network,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        pool: int = 10,
        chosen: int = 5,
        length: int = 5,
        pull: float = 0.5,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if not 1 <= chosen <= pool or length < 1 or pull < 0:
            raise ValueError(
                f"strategy.chosen={chosen} is from 1 to strategy.pool={pool}, "
                f"strategy.length={length} 1 or more, strategy.pull={pull} not negative"
            )
        self.chosen, self.pull = chosen, pull
        self.keys = nn.Parameter(torch.empty(pool, network.body.features).uniform_(-1, 1))
        self.pool = nn.Parameter(torch.empty(pool, length, self.width).uniform_(-1, 1))
        self.method |= {"pool": pool, "chosen": chosen}

    def prompts(self, query: Tensor, task: int | None) -> Prompts:
        cosines = F.normalize(query) @ F.normalize(self.keys).T.to(query.dtype)  # (b, M)
        near = cosines.topk(self.chosen, 1)
        return Prompts((1 - near.values).sum(1), self.pool[near.indices].flatten(1, 2))
