"""What EWC, MAS and their like share: weights are held near an anchor by their importance.

The loss of a task becomes cross-entropy + strength * sum of importance (theta - anchor)^2, without
a factor 1/2; the anchor are the weights at the end of the task before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, TypedDict

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from lifelong.data import Batch, Task, Visit
from lifelong.networks import TaskNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.anchor import Anchor, shared
from lifelong.parts.importance import Importance, statistics
from lifelong.strategies.halving import Halving
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Strategy

if TYPE_CHECKING:
    from lifelong.drawing import Drawings, Results


class AnchoredOptions(TypedDict, total=False):
    """Options of `Anchored` that every method takes that stands on it."""

    penalty: Literal["gradient", "proximal"]
    halve_below: float


class Anchored(Halving):
    """Holds the shared weights; with importance 1 for all of them (L2).

    Heads that each belong to one task are held by nothing; one head for all tasks is.

    Args:
        network: see `Strategy`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        strength: lambda.
        importance: estimates what weights matter; by default all matter alike.
        penalty: `gradient`: that of the penalty is added to the loss's, which is the same as adding
            the penalty to the loss; `proximal`: after each step the weights go the share
            c / (1 + c) of the way to the anchor, c = 2 rate strength importance, which stays stable
            for any strength.
        halve_below: see `Halving`.

    Raises:
        ValueError: a value out of range.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import Anchored, MultiHead, Network, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> method = Anchored(network, partial(SGD, lr=0.1), strength=0.01, penalty="proximal")
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> for visit in stream.visits[:2]:
    ...     method.begin_task(visit)
    >>> method.penalty_active
    True
    """

    steps_own_heads: ClassVar[bool] = True
    capturable: ClassVar[bool] = True
    divides: ClassVar[bool] = True
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
        importance: Importance | None = None,
        penalty: Literal["gradient", "proximal"] = "gradient",
        halve_below: float = 0.0,
    ) -> None:
        super().__init__(network, optimizer, schedule, strength=strength, halve_below=halve_below)
        self.proximal = penalty == "proximal"
        self.importance, self.anchor = importance or Importance(), Anchor()
        self.method |= {"strength": strength, "importances": {}}
        self._regularized: dict[str, nn.Parameter] = {}  # of the current task
        self._awake: dict[str, nn.Parameter] = {}  # those that may get a gradient

    def regularized_params(self) -> dict[str, nn.Parameter]:
        """The parameters that are held, by name in the network."""
        return shared(self.network)

    def importance_of(self, visit: Visit) -> dict[str, Tensor]:
        """The importance that the weights have for a task just learned, by name."""
        return self.importance(self.network, visit, self._regularized)

    def accumulate_importance(self, name: str, found: Tensor) -> None:
        """Takes the importance of a task into what was gathered so far."""
        self.anchor.importance(name).copy_(found)

    def check(self, tasks: Sequence[Task]) -> None:
        self.importance.check(self.network, tasks)

    @staticmethod
    def drawings(results: Results) -> Drawings:
        """See `Strategy.drawings`."""
        from lifelong.strategies.anchored_figures import drawings

        return drawings(results)

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        self._regularized = self._awake = self.regularized_params()
        self.anchor.extend(self._regularized)

    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        super().end_task(visit, loader)
        self.eval()
        found = self.importance_of(visit)
        for name, value in found.items():
            self.accumulate_importance(name, value)
        if found:
            self.method["importances"][str(visit.number)] = statistics(found)
        self.train()
        self.update_anchor()

    def on_train_start(self) -> None:
        """Leaves out of the steps what the round gives no gradient."""
        idle = self.idle
        self._awake = {name: p for name, p in self._regularized.items() if id(p) not in idle}

    def update_anchor(self) -> None:
        """Makes the weights as they are now those to hold to."""
        self.anchor.move_to(self._regularized)

    @torch.no_grad()
    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        if self.penalty_active and not self.proximal:
            self.add_penalty_gradient()

    def add_penalty_gradient(self) -> None:
        """Adds the penalty's gradient to the loss's."""
        self.anchor.add_gradients(self.moved(), self.strength)

    def moved(self) -> dict[str, nn.Parameter]:
        """What is held and has a gradient in this step; the rest, other heads, stays as it is."""
        return {name: p for name, p in self._awake.items() if p.grad is not None}

    def after_step(self) -> None:
        if self.penalty_active and self.proximal:
            named = self._regularized
            doubled = {name: 2 * self.lr_of(p) * self.strength for name, p in named.items()}
            self.anchor.move_weights(named, doubled)

    def step_ratio(self) -> float:
        """Rate * strength * highest importance / (1 + momentum); from 1 on steps diverge."""
        momentum = float(self.optimizer.param_groups[0].get("momentum", 0))
        peaks = [self.anchor.importance(name).max() for name in self._awake]
        if not peaks:
            return 0.0
        highest = torch.stack(peaks).tolist()  # one wait for the device
        rates = map(self.lr_of, self._awake.values())
        most: float = max(rate * peak for rate, peak in zip(rates, highest, strict=True))
        return self.strength * most / (1 + momentum)

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
            f"well below 1: give {self.steadier}a smaller strategy.strength or lr"
        )

    @property
    def steadier(self) -> str:
        """What keeps steps from diverging, before `a smaller strength`; of its own options."""
        return "strategy.penalty=proximal, or "
