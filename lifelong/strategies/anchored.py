"""What EWC, MAS and their like share: weights are held near an anchor by their importance.

The loss of a task becomes cross-entropy + strength * sum of importance (theta - anchor)^2, without
a factor 1/2; the anchor are the weights at the end of the task before. A method says what the
importance is.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lifelong.data import Batch, Task
from lifelong.networks import TaskNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.anchor import Anchor
from lifelong.strategies.strategy import MakeOptimizer, Strategy


class Anchored(Strategy):
    """Holds the shared weights; with importance 1 for all of them (L2).

    The heads are held by nothing: each belongs to its task.

    Args:
        network: see `Strategy`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        strength: lambda.
        penalty: `gradient`: that of the penalty is added to the loss's, which is the same as adding
            the penalty to the loss; `proximal`: after each step the weights go the share
            c / (1 + c) of the way to the anchor, c = 2 rate strength importance, which stays stable
            for any strength.
    """

    refuses: ClassVar[dict[str, str]] = Strategy.refuses | {
        "precision": "the penalty is added to gradients as they are, not scaled"
    }

    def __init__(
        self,
        network: TaskNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        strength: float = 1.0,
        penalty: Literal["gradient", "proximal"] = "gradient",
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if strength < 0:
            raise ValueError(f"strategy.strength={strength}: must not be negative")
        self.strength, self.proximal = strength, penalty == "proximal"
        self.anchor = Anchor()
        self.method = {"strength": strength}
        self._held: dict[str, nn.Parameter] = {}  # of the current task

    def held(self) -> dict[str, nn.Parameter]:
        """The parameters that are held, by name in the network."""
        return {
            name: p
            for name, p in self.network.named_parameters()
            if p.requires_grad and not name.startswith("heads.")
        }

    def importance(self, task: Task, loader: DataLoader[Batch]) -> dict[str, Tensor]:
        """The importance that the weights have for a task just learned, by name."""
        return {name: torch.ones_like(p) for name, p in self.held().items()}

    def merge(self, name: str, found: Tensor) -> None:
        """Takes the importance of a task into what was gathered so far."""
        self.anchor.importance(name).copy_(found)

    def begin_task(self, task: Task) -> None:
        super().begin_task(task)
        self._held = self.held()
        self.anchor.extend(self._held)

    def end_task(self, task: Task, loader: DataLoader[Batch]) -> None:
        super().end_task(task, loader)
        self.eval()
        for name, found in self.importance(task, loader).items():
            self.merge(name, found)
        self.train()
        self.anchor.hold(self.held())

    @property
    def holds(self) -> bool:
        """Whether there is something to hold to: after the first task."""
        return len(self.classes) > 1 and self.strength > 0

    @torch.no_grad()
    def on_after_backward(self) -> None:
        if not self.holds or self.proximal:
            return
        pulls = self.limited(self.anchor.gradients(self._held, self.strength))
        pairs = zip(self._held.values(), pulls, strict=True)
        moved = [(p.grad, pull) for p, pull in pairs if p.grad is not None]
        torch._foreach_add_([grad for grad, _ in moved], [pull for _, pull in moved])

    def limited(self, pulls: list[Tensor]) -> list[Tensor]:
        """What of the penalty's gradients is added."""
        return pulls

    @torch.no_grad()
    def on_train_batch_end(self, outputs: object, batch: Batch, batch_idx: int) -> None:
        if not self.holds or not self.proximal:
            return
        optimizer = self.optimizers(use_pl_optimizer=False)
        rate = optimizer.param_groups[0]["lr"]  # type: ignore[union-attr]
        for name, p in self._held.items():
            c = 2 * rate * self.strength * self.anchor.importance(name)
            p.copy_((p + c * self.anchor.weight(name)) / (1 + c))
