"""Learning without forgetting (LwF): earlier heads answer the new images as they did before.

Li, Hoiem, "Learning without Forgetting", ECCV 2016; a baseline of MAS (ECCV 2018). No earlier image
and no importance is kept.
"""

from __future__ import annotations

import copy
from typing import ClassVar, Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.data import Batch, Visit
from lifelong.networks import MultiHead, Network
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.distillation import distillation
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Round, Rounds, Strategy


class LwF(Strategy):
    """Cross-entropy plus strength * sum over earlier tasks of a distillation loss.

    The distillation loss of task j is the mean over the batch of - sum_c p_c log q_c, p and q being
    the softmax of the scores / temperature under head j of the network as it was before the task
    and as it is now; without a factor temperature^2. Earlier heads are trained, too. With one head
    for all tasks there is one such term, over the seen classes.

    With `weighting=average` that of task t is 1/t of the cross-entropy plus (1 - 1/t) * strength
    times the mean of the distillation losses, as in the program of van de Ven and Tolias ("Three
    scenarios for continual learning", 2019).

    Args:
        network: see `Strategy`; of one body.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        strength: lambda.
        weighting: of cross-entropy and distillation: `sum` or `average`, see above.
        new_classes: with one head for all tasks, whether the distillation's softmax goes over the
            classes of the current task as well, for which the former network has probability 0.
        temperature: T, above 0.
        warmup_epochs: of a round before the training in which only the new head learns.

    Raises:
        ValueError: a value out of range.

    >>> import torch
    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import LwF, MultiHead, Network, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> method = LwF(network, partial(SGD, lr=0.1), temperature=2.0)
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> for visit in stream.visits[:2]:
    ...     method.begin_task(visit)
    >>> loss = method.training_loss(visit.train[torch.arange(32)])
    >>> method.teacher is None
    False
    """

    capturable: ClassVar[bool] = True
    divides: ClassVar[bool] = True
    network: Network

    def __init__(
        self,
        network: Network,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        strength: float = 1.0,
        weighting: Literal["sum", "average"] = "sum",
        new_classes: bool = False,
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
        if new_classes and not network.shared_outputs:
            raise ValueError(
                "strategy.new_classes=true: each task has a head of its own; give heads=incremental"
                ", or false"
            )
        if warmup_epochs:
            self.refuses = {
                **self.refuses,
                "online": "with strategy.warmup_epochs it trains twice on the images of a task",
            }
        self.averaged, self.new_classes = weighting == "average", new_classes
        self._warming = False
        self.strength, self.temperature = strength, temperature
        self.warmup_epochs = warmup_epochs
        self.method |= {"strength": strength, "temperature": temperature}
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
        if self.teacher is None or not self._earlier or not self.strength:
            return super().training_loss(batch)
        network = self.network
        features = network.body(batch.x)  # (b, f)
        with torch.no_grad():
            former = self.teacher.heads.softmax_groups(self.teacher.body(batch.x), self._earlier)
        given = network.heads.of_tasks(features, batch.t)
        asked = [*self._earlier, self.current] if self.new_classes else self._earlier
        now = network.heads.softmax_groups(features, asked)
        own, weight = 1.0, self.strength
        if self.averaged:
            own = 1 / self.visit
            weight *= (1 - own) / len(now)
        loss = own * F.cross_entropy(given, batch.y) + self.penalty(batch.t)
        for wanted, scores in zip(former, now, strict=True):
            loss = loss + weight * distillation(scores, wanted, self.temperature)
        return loss
