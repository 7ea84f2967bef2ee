"""Memory aware synapses (MAS): weights that the outputs are sensitive to are held.

Aljundi, Babiloni, Elhoseiny, Rohrbach, Tuytelaars, "Memory Aware Synapses: Learning what (not) to
forget", ECCV 2018 (arXiv 1711.09601). The importance of a weight is the mean over images of the
absolute gradient of the squared norm of the task's class scores; no label is used. In the local
form each layer y = relu(W u) is its own function, and the importance the mean of |y u^T|.

Departure from the authors' program: the absolute value is taken for each image, as the paper
writes it, and not for each batch (`importance.estimator=batched`).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Unpack

from torch import Tensor
from torch.utils.data import DataLoader

from lifelong.data import Batch, Images, Visit
from lifelong.networks import TaskNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.importance import added
from lifelong.parts.sensitivity import Sensitivity
from lifelong.strategies.anchored import Anchored, AnchoredOptions
from lifelong.strategies.learner import MakeOptimizer


class MAS(Anchored):
    """Cross-entropy plus strength * sum of importance (theta - anchor)^2.

    Args:
        network: see `Strategy`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        strength: lambda.
        importance: of a task.
        accumulate: how the tasks' importances are put together: their `sum`; their mean weighted by
            images (`running_mean`); `ema`: `alpha` of what was gathered and the rest of the new,
            the first task's in full; or `recompute`: the sum, estimated anew for all tasks with the
            weights as they are, which needs the images of earlier tasks.
        alpha: see `accumulate`.
        **options: `penalty` and `halve_below`, see `Anchored`.

    Raises:
        ValueError: a value out of range.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import MAS, MultiHead, Network, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> from lifelong.parts.sensitivity import Sensitivity
    >>> method = MAS(network, partial(SGD, lr=0.1), importance=Sensitivity(scope="local"))
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> visit = stream.visits[0]
    >>> method.begin_task(visit)
    >>> method.end_task(visit, [])
    >>> sorted(method.anchor.names), method.images
    (['body.0.bias', 'body.0.weight'], 242)
    """

    steps_own_heads: ClassVar[bool] = True
    capturable: ClassVar[bool] = True
    divides: ClassVar[bool] = True
    acts_with: ClassVar[dict[str, str]] = {"alpha": "accumulate=ema"}
    importance: Sensitivity

    def __init__(
        self,
        network: TaskNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        strength: float = 1.0,
        importance: Sensitivity | None = None,
        accumulate: Literal["sum", "running_mean", "ema", "recompute"] = "sum",
        alpha: float = 0.5,
        **options: Unpack[AnchoredOptions],
    ) -> None:
        importance = importance or Sensitivity()
        super().__init__(
            network, optimizer, schedule, strength=strength, importance=importance, **options
        )
        if not 0 <= alpha <= 1:
            raise ValueError(f"strategy.alpha={alpha}: give a share from 0 to 1")
        self.accumulate, self.alpha = accumulate, alpha
        self.images = 0  # that the gathered importance was estimated on
        self._met: dict[int, Visit] = {}  # whose images `recompute` needs
        self.method |= {
            "importance": importance.scope, "accumulate": accumulate,
            "estimator": importance.estimator,
        }  # fmt: skip

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        if self.accumulate == "recompute":
            self._met[visit.task.index] = visit

    def kept_images(self) -> list[Images]:
        """The training images that `recompute` needs."""
        return [visit.task.train for visit in self._met.values()]

    def importance_of(self, visit: Visit) -> dict[str, Tensor]:
        known = self._met.values() if self._met else [visit]
        return added([super(MAS, self).importance_of(each) for each in known])

    def accumulate_importance(self, name: str, found: Tensor) -> None:
        gathered, new = self.anchor.importance(name), self.importance.count
        if self.accumulate == "sum":
            gathered.add_(found)
        elif self.images == 0 or self.accumulate == "recompute":
            gathered.copy_(found)
        elif self.accumulate == "ema":
            gathered.mul_(self.alpha).add_((1 - self.alpha) * found)
        else:
            gathered.lerp_(found, new / (self.images + new))

    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        super().end_task(visit, loader)
        self.images += self.importance.count

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "images": self.images}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self.images = state["images"]
