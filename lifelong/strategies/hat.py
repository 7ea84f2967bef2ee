"""Hard attention to the task (HAT): gates of units for each task; what they let through stays.

Serra, Suris, Miron, Karatzoglou, "Overcoming Catastrophic Forgetting with Hard Attention to the
Task", ICML 2018, section 2. With `fidelity=authors` as in its official implementation the slope
grows with the share of the images seen, below its highest value, and gradients are clipped.

Departure from both: the share of a weight that is free multiplies its step, not its gradient, so
that it holds for every optimizer; for SGD, with and without momentum, the two are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from lifelong.data import Batch, Visit
from lifelong.networks import Network
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.stack import plain_layers
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.subnetworks import Subnetworks

HIGHEST = 6.0  # of what is learned of a gate, by size
EXPONENT = 50.0  # bound of the exponents in the compensation
CLIP = 10_000.0  # norm of the gradients of the official implementation


class HAT(Subnetworks):
    """Each output of a layer is multiplied by a gate of the task, sigmoid(s e) with e learned.

    The slope s rises within each epoch from 1 / steepness to steepness. A task that comes again
    trains its head alone.

    Args:
        network: of one body, a stack of layers without shortcuts.
        optimizer: see `Strategy`; serves weights and gates.
        schedule: see `Strategy`.
        strength: c, of the penalty on open gates that no task has opened yet.
        steepness: s_max, the highest slope, with which answers are given.
        fidelity: `clean` or `authors`, see above.

    Attributes:
        slope: s of the current step.

    Raises:
        ValueError: a value out of range, a body that is no such stack.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import HAT, MultiHead, Network, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> [tuple(taken.shape) for taken in HAT(network, partial(SGD, lr=0.1)).taken()]
    [(16,)]
    """

    steps_own_heads: ClassVar[bool] = True
    divides: ClassVar[bool] = True
    refuses: Mapping[str, str] = {
        **Subnetworks.refuses,
        "half_precision": "slopes need more digits; give bf16-mixed",
    }

    def __init__(
        self,
        network: Network,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        strength: float = 0.75,
        steepness: float = 400.0,
        fidelity: Literal["clean", "authors"] = "clean",
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if strength < 0 or steepness < 1:
            raise ValueError(
                f"strategy.strength={strength} must not be negative, and "
                f"strategy.steepness={steepness} 1 or more"
            )
        self.layers = plain_layers(network, "hat")
        self.strength, self.steepness, self.authors = strength, steepness, fidelity == "authors"
        self.slope = steepness
        self.gates = nn.ParameterDict()  # e, by task and layer
        for number, layer in enumerate(network.body.layers):
            self.register_buffer(f"taken_{number}", torch.zeros(len(layer.bias)))
        self.method |= {"fidelity": fidelity}
        self._free: list[tuple[nn.Parameter, Tensor]] = []  # the share of a step that is taken
        self._before: list[Tensor] = []

    def taken(self) -> list[Tensor]:
        """How far the tasks before have opened each unit of each layer, from 0 to 1."""
        return [self.get_buffer(f"taken_{number}") for number in range(len(self.layers))]

    def _of(self, task: int) -> list[nn.Parameter]:
        """What is learned of the gates of a task; nothing where there are none."""
        keys = [f"{task}_{number}" for number in range(len(self.layers))]
        return [self.gates[key] for key in keys if key in self.gates]

    @property
    def learns(self) -> bool:
        """Whether the gates of the current task are trained."""
        return self.numbers[self.current] == self.visit

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        task = visit.task.index
        if not self._of(task):
            for number, taken in enumerate(self.taken()):
                drawn = torch.randn(len(taken)).to(taken.device)
                self.gates[f"{task}_{number}"] = nn.Parameter(drawn)
        self.gates.requires_grad_(False)
        for gate in self._of(task):
            gate.requires_grad_(self.learns)
        self.network.body.requires_grad_(self.learns)
        self.network.body.freeze()

    def used(self, task: int) -> dict[str, Tensor]:
        slope = self.slope if self.training and task == self.current else self.steepness
        found = {}
        for (name, layer), gate in zip(self.layers.items(), self._of(task), strict=False):
            opened = torch.sigmoid(slope * gate)  # ReLU(a z) = a ReLU(z)
            found[f"{name}.weight"] = layer.weight * _rows(opened, layer.weight)
            found[f"{name}.bias"] = layer.bias * opened
        return found

    def training_loss(self, batch: Batch) -> Tensor:
        loss = super().training_loss(batch)
        return loss + self.strength * self.openness() if self.learns else loss

    def openness(self) -> Tensor:
        """Share of the units not taken yet that the current task opens (equation 5)."""
        free = [1 - taken for taken in self.taken()]
        opened = [torch.sigmoid(self.slope * gate) for gate in self._of(self.current)]
        wanted = torch.stack([(a * b).sum() for a, b in zip(opened, free, strict=True)]).sum()
        return wanted / torch.stack([each.sum() for each in free]).sum().clamp(min=1e-9)

    def free(self) -> dict[str, Tensor]:
        """Share of a step that weights and biases take: 1 - min of the units at both ends."""
        found, below = {}, None
        for (name, layer), taken in zip(self.layers.items(), self.taken(), strict=True):
            held = _rows(taken, layer.weight)
            if below is not None:
                each = layer.weight.shape[1] // len(below)  # entries that come of a channel
                inputs = below.repeat_interleave(each)
                held = torch.minimum(held, inputs.view(1, -1, *[1] * (layer.weight.dim() - 2)))
            found[f"{name}.weight"] = (1 - held).expand(layer.weight.shape)
            found[f"{name}.bias"] = 1 - taken
            below = taken
        return found

    def on_train_start(self) -> None:
        named = dict(self.network.body.named_parameters())
        free = self.free() if self.learns and len(self.numbers) > 1 else {}
        self._free = [(named[name.removeprefix("body.")], share) for name, share in free.items()]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        batches = int(self.trainer.num_training_batches)
        self.slope = self.slope_at(batch_idx, batches) if self.learns else self.steepness
        self._before = [p.detach().clone() for p, _ in self._free]

    def slope_at(self, number: int, batches: int) -> float:
        """S in a batch of an epoch, counted from 0 (equation 3)."""
        share = number / batches if self.authors else number / max(batches - 1, 1)
        if batches == 1:
            share = 1.0
        return 1 / self.steepness + (self.steepness - 1 / self.steepness) * share

    @torch.no_grad()
    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Makes up for what the slope does to the gradients of the gates (equation 4)."""
        for e in self._of(self.current):
            if e.grad is not None:
                steep = (self.slope * e).clamp(-EXPONENT, EXPONENT).cosh() + 1
                e.grad.mul_(self.steepness / self.slope * steep / (e.cosh() + 1))
        if self.authors:
            nn.utils.clip_grad_norm_(self.parameters(), CLIP)

    @torch.no_grad()
    def after_step(self) -> None:
        for (p, free), before in zip(self._free, self._before, strict=True):
            p.copy_(torch.lerp(before, p, free))
        for e in self._of(self.current) if self.learns else ():
            e.clamp_(-HIGHEST, HIGHEST)

    @torch.no_grad()
    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        super().end_task(visit, loader)
        self._free, self._before, self.slope = [], [], self.steepness
        for taken, e in zip(self.taken(), self._of(visit.task.index), strict=True):
            taken.copy_(torch.maximum(taken, torch.sigmoid(self.steepness * e)))
        held = [1 - free for name, free in self.free().items() if name.endswith("weight")]
        total = sum(each.numel() for each in held)
        share = float(torch.stack([each.sum() for each in held]).sum()) / total
        self.method["capacity"][str(visit.number)] = round(share, 6)


def _rows(units: Tensor, weight: Tensor) -> Tensor:
    """A value of each output in the shape of a weight, (o, 1, ..)."""
    return units.view(-1, *[1] * (weight.dim() - 1))
