"""Learning without forgetting (LwF): earlier heads answer the new images as they did before.

Li, Hoiem, "Learning without Forgetting", ECCV 2016; a baseline of MAS (ECCV 2018). No earlier image
and no importance is kept.
"""

from __future__ import annotations

import copy
from typing import Self

import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.data import Batch, Visit
from lifelong.networks import MultiHead, Network, by_task, taken
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.distillation import distillation
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Round, Rounds, Strategy


class LwF(Strategy):
    """Cross-entropy plus strength * sum over earlier tasks of a distillation loss.

    The distillation loss of task j is the mean over the batch of - sum_c p_c log q_c, p and q being
    the softmax of the scores / temperature under head j of the network as it was before the task
    and as it is now; without a factor temperature^2. Earlier heads learn along. With one head for
    all tasks there is one such term, over the classes met before.

    Args:
        network: see `Strategy`; of one body.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        strength: lambda.
        temperature: T, above 0.
        warmup_epochs: of a round before the training in which only the new head learns.

    Raises:
        ValueError: a value out of range.
    """

    network: Network

    def __init__(
        self,
        network: Network,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        strength: float = 1.0,
        temperature: float = 2.0,
        warmup_epochs: int = 0,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if strength < 0 or temperature <= 0 or warmup_epochs < 0:
            raise ValueError(
                f"strategy.strength={strength} and strategy.warmup_epochs={warmup_epochs} must not "
                f"be negative, strategy.temperature={temperature} must be above 0"
            )
        if warmup_epochs and not isinstance(network.heads, MultiHead):
            raise ValueError(
                f"strategy.warmup_epochs={warmup_epochs}: one head or output matrix for all tasks "
                "cannot learn in a part alone; give heads=multi with "
                "multi_head=lifelong.networks.MultiHead, or 0"
            )
        if warmup_epochs:
            self.refuses = {
                **self.refuses,
                "online": "with strategy.warmup_epochs it trains twice on the images of a task",
            }
        self._warming = False
        self.strength, self.temperature = strength, temperature
        self.warmup_epochs = warmup_epochs
        self.method = {"strength": strength, "temperature": temperature}
        self.teacher: Network | None = None  # the network before the current task
        self._earlier: list[int] = []  # tasks that it knows, but for the current one

    def begin_task(self, visit: Visit) -> None:
        if self.classes:
            self.teacher = copy.deepcopy(self.network).requires_grad_(False).eval()
        self._earlier = [
            index for index in self.classes
            if index != visit.task.index or self.network.shared_outputs
        ]  # fmt: skip
        super().begin_task(visit)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        if self._warming:
            self.network.body.eval()
        return self

    def rounds(self, visit: Visit) -> Rounds:
        if self.warmup_epochs and self._earlier:
            own = {id(p) for p in self.network.heads.head_for(visit.task.index).parameters()}
            others = [p for p in self.network.parameters() if p.requires_grad and id(p) not in own]
            for p in others:
                p.requires_grad_(False)
            self._warming = True
            yield Round("warm-up", self.warmup_epochs)
            self._warming, self.scheduled = False, self.began
            for p in others:
                p.requires_grad_()
        yield Round()

    def training_loss(self, batch: Batch) -> Tensor:
        if not self._earlier or not self.strength:
            return super().training_loss(batch)
        assert self.teacher is not None
        network = self.network
        features = network.body(batch.x)  # (b, f)
        with torch.no_grad():
            former = self.teacher.heads.softmax_groups(self.teacher.body(batch.x), self._earlier)
        given = by_task(lambda rows, task: network.heads(taken(features, rows), task), batch.t)
        loss = F.cross_entropy(given, batch.y) + self.penalty(batch.t)
        now = network.heads.softmax_groups(features, self._earlier)
        for wanted, scores in zip(former, now, strict=True):
            loss = loss + self.strength * distillation(scores, wanted, self.temperature)
        return loss
