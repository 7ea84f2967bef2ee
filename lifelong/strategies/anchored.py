"""What EWC, MAS and their like share: weights are held near an anchor by their importance.

The loss of a task becomes cross-entropy + strength * sum of importance (theta - anchor)^2, without
a factor 1/2; the anchor are the weights at the end of the task before. A method says what the
importance is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from lifelong.data import Batch, Visit
from lifelong.measures.history import HISTOGRAM
from lifelong.networks import TaskNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.anchor import Anchor, key
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Round, Rounds, Strategy

ATTEMPTS = 10  # to learn a task with ever smaller strength

if TYPE_CHECKING:
    from lifelong.drawing import Drawings, Results


class Anchored(Strategy):
    """Holds the shared weights; with importance 1 for all of them (L2).

    Heads that each belong to one task are held by nothing; one head for all tasks is.

    Args:
        network: see `Strategy`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        strength: lambda.
        penalty: `gradient`: that of the penalty is added to the loss's, which is the same as adding
            the penalty to the loss; `proximal`: after each step the weights go the share
            c / (1 + c) of the way to the anchor, c = 2 rate strength importance, which stays stable
            for any strength.
        halve_below: from the second task on, learn without the penalty first, then with it, each
            time from where the task began, and halve the strength until the validation accuracy is
            at least this share of the first one's, ten times at most; the strength is kept for
            later tasks (De Lange et al., TPAMI 2021, with 0.8). 0: never.

    Raises:
        ValueError: a value out of range.
    """

    refuses: Mapping[str, str] = {
        **Strategy.refuses,
        "half_precision": "importances and anchors need 32 bits; give a mixed precision",
    }

    def __init__(
        self,
        network: TaskNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        strength: float = 1.0,
        penalty: Literal["gradient", "proximal"] = "gradient",
        halve_below: float = 0.0,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if strength < 0:
            raise ValueError(f"strategy.strength={strength}: must not be negative")
        if not 0 <= halve_below <= 1:
            raise ValueError(f"strategy.halve_below={halve_below}: give a share from 0 to 1")
        self.halve_below, self.needs_validation = halve_below, halve_below > 0
        if halve_below:
            self.refuses = {
                **self.refuses,
                "optimizer_lifetime": "with strategy.halve_below each attempt has a new optimizer",
                "online": "with strategy.halve_below it trains several times on a task",
            }
        self._free = False  # while a task is learned without the penalty
        self.strength, self.proximal = strength, penalty == "proximal"
        self.anchor = Anchor()
        self.method = {"strength": strength, "importances": {}}
        self._regularized: dict[str, nn.Parameter] = {}  # of the current task

    def regularized_params(self) -> dict[str, nn.Parameter]:
        """The parameters that are held, by name in the network."""
        return shared(self.network)

    def importance(self, visit: Visit, loader: DataLoader[Batch]) -> dict[str, Tensor]:
        """The importance that the weights have for a task just learned, by name."""
        return {name: torch.ones_like(p) for name, p in self.regularized_params().items()}

    def accumulate_importance(self, name: str, found: Tensor) -> None:
        """Takes the importance of a task into what was gathered so far."""
        self.anchor.importance(name).copy_(found)

    @staticmethod
    def drawings(results: Results) -> Drawings:
        """See `Strategy.drawings`."""
        from lifelong.strategies.anchored_figures import drawings

        return drawings(results)

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        self._regularized = self.regularized_params()
        self.anchor.extend(self._regularized)
        if self.halve_below:
            for name, value in self.network.state_dict().items():
                if torch.is_tensor(value):
                    self.register_buffer(f"start_{key(name)}", value.clone())

    def rounds(self, visit: Visit) -> Rounds:
        if not self.halve_below or not self.penalty_active:
            yield Round()
            return
        self._free = True
        metrics = yield Round("without penalty")
        self._free, wanted = False, self.halve_below * metrics["val/best"]
        for attempt in range(ATTEMPTS):
            self.restart_task()
            metrics = yield Round(f"attempt {attempt + 1}")
            self.method.setdefault("strengths", {})[str(visit.number)] = self.strength
            if metrics["val/best"] >= wanted:
                return
            self.strength /= 2

    @torch.no_grad()
    def restart_task(self) -> None:
        """Puts network and schedule back to where the task began."""
        self.scheduled = self.began
        for name, value in self.network.state_dict().items():
            if torch.is_tensor(value):
                value.copy_(self.get_buffer(f"start_{key(name)}"))

    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        super().end_task(visit, loader)
        self.eval()
        found = self.importance(visit, loader)
        for name, value in found.items():
            self.accumulate_importance(name, value)
        if found:
            self.method["importances"][str(visit.number)] = importance_statistics(found)
        self.train()
        self.update_anchor()

    def update_anchor(self) -> None:
        """Makes the weights as they are now those to hold to."""
        self.anchor.move_to(self.regularized_params())

    @property
    def penalty_active(self) -> bool:
        """Whether there is something to hold to: after the first task."""
        return self.visit > 1 and len(self.classes) > 1 and self.strength > 0 and not self._free

    def step_ratio(self) -> float:
        """Rate * strength * highest importance / (1 + momentum); from 1 on steps diverge."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        momentum = optimizer.param_groups[0].get("momentum", 0)  # type: ignore[union-attr]
        highest = max(
            (
                self.lr_of(p) * float(self.anchor.importance(n).max())
                for n, p in self._regularized.items()
            ),
            default=0.0,
        )
        return float(self.strength * highest / (1 + momentum))

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        if self.penalty_active and not self.proximal:
            self.log("penalty/step_ratio", self.step_ratio())

    def divergence_hint(self) -> str:
        ratio = self.step_ratio()
        if self.proximal or not self.penalty_active or ratio < 0.5:
            return super().divergence_hint()
        return (
            f"rate * strength * highest importance / (1 + momentum) is {ratio:.3g} and must stay "
            "well below 1: give strategy.penalty=proximal, or a smaller strategy.strength or lr"
        )

    @torch.no_grad()
    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if not self.penalty_active or self.proximal:
            return
        self.add_penalty_gradient()

    def add_penalty_gradient(self) -> None:
        """Adds the penalty's gradient to the loss's."""
        self.anchor.add_gradients(self.moved(), self.strength)

    def moved(self) -> dict[str, nn.Parameter]:
        """What is held and has a gradient in this step; the rest, other heads, stays as it is."""
        return {name: p for name, p in self._regularized.items() if p.grad is not None}

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "strength": self.strength}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self.strength = state["strength"]

    @torch.no_grad()
    def on_train_batch_end(self, outputs: object, batch: Batch, batch_idx: int) -> None:
        if not self.penalty_active or not self.proximal:
            return
        for name, p in self._regularized.items():
            c = 2 * self.lr_of(p) * self.strength * self.anchor.importance(name)
            p.copy_((p + c * self.anchor.weight(name)) / (1 + c))


def shared(network: TaskNetwork) -> dict[str, nn.Parameter]:
    """The trained parameters that serve several tasks, by name: heads only where all have one."""
    return {
        name: p
        for name, p in network.named_parameters()
        if p.requires_grad and (network.shared_outputs or not name.startswith("heads."))
    }


def importance_statistics(importances: dict[str, Tensor]) -> dict[str, Any]:
    """What a report shows of a task's importances.

    Returns:
        `shares`: of each parameter in their sum; `histogram`: how many entries there are in each of
        the equal steps of their decimal logarithm that `HISTOGRAM` (from, to, steps) says; `zeros`.
    """
    every = torch.cat([value.flatten() for value in importances.values()]).float().cpu()
    sums = {name: float(value.sum()) for name, value in importances.items()}
    total = sum(sums.values()) or 1.0
    first, last, steps = HISTOGRAM
    logarithms = every[every > 0].log10().clamp(first, last)
    return {
        "shares": {name: round(value / total, 6) for name, value in sums.items()},
        "histogram": torch.histc(logarithms, steps, first, last).long().tolist(),
        "zeros": int((every <= 0).sum()),
    }
