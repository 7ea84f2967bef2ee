"""DualPrompt: prompts that all tasks share in the first blocks, and a task's own in later ones.

Wang, Zhang, Ebrahimi, Sun, Zhang, Lee, Ren, Su, Perot, Dy, Pfister, "DualPrompt: Complementary
Prompting for Rehearsal-free Continual Learning", ECCV 2022, sections 4.1 and 4.2, by prefix tuning.
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


class DualPrompt(Prompting):
    """G-prompts for all tasks, an E-prompt and a key for each; unknown tasks go by the nearest key.

    Args:
        network: see `Prompting`.
        optimizer: see `Prompting`.
        schedule: see `Prompting`.
        general: blocks, from 0, with G-prompts.
        general_length: keys, and values, of a G-prompt.
        expert: blocks with E-prompts.
        expert_length: keys, and values, of an E-prompt.
        pull: lambda, of the distance to the task's key (equation 5).

    Raises:
        ValueError: a value out of range; see `Prompting`.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import DualPrompt, IncrementalHead, Network
    >>> from lifelong.backbones import Timm
    >>> body = partial(Timm, (1, 8, 8), "test_vit", options={"patch_size": 4})
    >>> method = DualPrompt(Network(body, IncrementalHead), partial(SGD, lr=0.1))
    >>> sorted(method.shared)
    ['0', '1']
    """

    divides: ClassVar[bool] = True

    def __init__(
        self,
        network: Network,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        general: Sequence[int] = (0, 1),
        general_length: int = 5,
        expert: Sequence[int] = (2, 3, 4),
        expert_length: int = 20,
        pull: float = 1.0,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        taken = [*general, *expert]
        if len(set(taken)) < len(taken) or not set(taken) <= set(range(len(self.blocks))):
            raise ValueError(
                f"strategy.general={list(general)}, strategy.expert={list(expert)}: the body has "
                f"blocks 0 to {len(self.blocks) - 1}; give each at most once"
            )
        if min(general_length, expert_length) < 1 or pull < 0 or not expert:
            raise ValueError(
                f"strategy.general_length={general_length} and strategy.expert_length="
                f"{expert_length} are 1 or more, strategy.pull={pull} is not negative, and "
                "strategy.expert names a block"
            )
        self.expert, self.length, self.pull = tuple(expert), expert_length, pull
        size = (2, general_length, self.width)
        self.shared = nn.ParameterDict({str(n): torch.empty(size).uniform_(-1, 1) for n in general})
        self.own = nn.ParameterDict()  # (blocks, 2, length, d) of each task
        self.keys = nn.ParameterDict()  # (f,)

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        key = str(visit.task.index)
        if key not in self.own:
            size, device = (len(self.expert), 2, self.length, self.width), self.device
            self.own[key] = nn.Parameter(torch.empty(size).uniform_(-1, 1).to(device))
            drawn = torch.empty(self.network.body.features).uniform_(-1, 1)
            self.keys[key] = nn.Parameter(drawn.to(device))
        for name in self.own:
            self.own[name].requires_grad_(name == key)
            self.keys[name].requires_grad_(name == key)

    def prompts(self, query: Tensor, task: int | None) -> Prompts:
        names = [str(task)] if str(task) in self.keys else list(self.keys)
        keys = torch.stack([self.keys[name] for name in names])
        cosines = F.normalize(query) @ F.normalize(keys).T.to(query.dtype)  # (b, tasks)
        near = cosines.max(1)
        own = torch.stack([self.own[name] for name in names])[near.indices]  # (b, blocks, 2, l, d)
        prefixes: dict[int, Prefix] = {
            block: (own[:, place, 0], own[:, place, 1]) for place, block in enumerate(self.expert)
        }
        for name, prompt in self.shared.items():
            k, v = prompt.expand(len(query), -1, -1, -1).unbind(1)
            prefixes[int(name)] = (k, v)
        return Prompts(1 - near.values, prefixes=prefixes)
