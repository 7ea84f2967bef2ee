"""CODA-Prompt: prompts are sums of components, weighted by how an image attends to each.

Smith, Karlinsky, Gutta, Cascante-Bonilla, Kim, Arbelle, Panda, Feris, Kira, "CODA-Prompt: COntinual
Decomposed Attention-based Prompting for Rehearsal-Free Continual Learning", CVPR 2023, section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.data import Visit
from lifelong.networks import Network
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.token_prompts import Prefix
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.prompting import Prompting, Prompts


class CODA(Prompting):
    """Each task adds components; those of earlier tasks stay, and are in the sum.

    Args:
        network: see `Prompting`.
        optimizer: see `Prompting`.
        schedule: see `Prompting`.
        components: of each task; M over the number of tasks in the paper.
        length: L_p, keys and values of a prompt together, an even number.
        prompted: blocks, from 0, with prompts.
        orthogonality: lambda, of the penalty on components that are alike (equation 7).

    Raises:
        ValueError: a value out of range; see `Prompting`.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import CODA, IncrementalHead, Network
    >>> from lifelong.backbones import Timm
    >>> body = partial(Timm, (1, 8, 8), "test_vit", options={"patch_size": 4})
    >>> CODA(Network(body, IncrementalHead), partial(SGD, lr=0.1), components=3).method
    {'components': 3}
    """

    divides: ClassVar[bool] = True

    def __init__(
        self,
        network: Network,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        components: int = 10,
        length: int = 8,
        prompted: Sequence[int] = (0, 1, 2, 3, 4),
        orthogonality: float = 0.0,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if components < 1 or length < 2 or length % 2 or orthogonality < 0:
            raise ValueError(
                f"strategy.components={components} is 1 or more, strategy.length={length} an even "
                f"number, strategy.orthogonality={orthogonality} not negative"
            )
        wrong = set(prompted) - set(range(len(self.blocks)))
        if not prompted or wrong or len(set(prompted)) < len(prompted):
            raise ValueError(
                f"strategy.prompted={list(prompted)}: the body has blocks 0 to "
                f"{len(self.blocks) - 1}; give some of them, each once"
            )
        self.components, self.length = components, length
        self.blocks_prompted, self.orthogonality = tuple(prompted), orthogonality
        self.method |= {"components": components}
        features = network.body.features
        self.sizes = {
            "keys": features, "attention": features, "prompts": length * self.width
        }  # fmt: skip
        self.parts = nn.ParameterDict()  # `<task>_<kind>`: of all blocks, (blocks, m, size)

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        task = visit.task.index
        for kind, size in self.sizes.items():
            name = f"{task}_{kind}"
            if name not in self.parts:
                drawn = torch.randn(len(self.blocks_prompted), self.components, size)
                drawn = orthogonal(drawn, self.all(kind).detach().to(drawn))
                self.parts[name] = nn.Parameter(drawn.to(self.device))
        for name, part in self.parts.items():
            part.requires_grad_(name.startswith(f"{task}_"))

    def all(self, kind: str) -> Tensor:
        """The keys, attention vectors or prompts of all tasks met, (blocks, M, size)."""
        own = [part for name, part in self.parts.items() if name.endswith(f"_{kind}")]
        none = torch.zeros(len(self.blocks_prompted), 0, self.sizes[kind], device=self.device)
        return torch.cat(own, 1) if own else none

    def prompts(self, query: Tensor, task: int | None) -> Prompts:
        keys, attention, parts = (self.all(kind) for kind in self.sizes)
        prefixes: dict[int, Prefix] = {}
        for place, block in enumerate(self.blocks_prompted):
            attended = F.normalize(query[:, None] * attention[place].to(query.dtype), dim=2)
            weights = (attended * F.normalize(keys[place], dim=1)).sum(2)  # (b, M)
            prompt = (weights @ parts[place]).view(len(query), self.length, self.width)
            k, v = prompt.chunk(2, 1)
            prefixes[block] = (k, v)
        return Prompts(query.new_zeros(len(query)), prefixes=prefixes)

    def prompt_penalty(self) -> Tensor | float:
        if not self.orthogonality:
            return 0.0
        grams = [found @ found.transpose(1, 2) for found in map(self.all, self.sizes)]  # (.., M, M)
        alike = [
            (gram - torch.eye(gram.shape[1]).to(gram)).square().mean((1, 2)).sum() for gram in grams
        ]
        return self.orthogonality * torch.stack(alike).sum()


def orthogonal(drawn: Tensor, earlier: Tensor) -> Tensor:
    """Rows of length 1, orthogonal to each other and to earlier ones while there is room.

    Args:
        drawn: (blocks, m, n).
        earlier: (blocks, M, n).
    """
    found = []
    for rows, before in zip(drawn, earlier, strict=True):
        known = list(F.normalize(before))
        for row in rows:
            left = row
            for other in known * 2 if len(known) < len(row) else ():  # twice: rounding
                left = left - (left @ other) * other
            known.append(F.normalize(left, dim=0))
        found.append(torch.stack(known[len(before) :]))
    return torch.stack(found)
