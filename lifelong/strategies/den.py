"""Dynamically expandable networks (DEN): retrain a part, grow where that is not enough, split.

Yoon, Yang, Lee, Hwang, "Lifelong Learning with Dynamically Expandable Networks", ICLR 2018. A
unit is a filter of a convolution or a neuron. The method's public program is fully connected, and
the one behind LASEM's numbers (ICML 2021) is not published; this follows the public program with
the constants that LASEM's release names, and is an approximation of what LASEM compared with.

Departures from the public program, each for the reason given:
- softmax cross-entropy, as in LASEM; there sigmoids, one problem for each class;
- fixed epochs for each phase instead of early stopping (a tenth of the budget for the output layer,
  the whole for each other phase), as for all methods here;
- the group threshold is `group` times the learning rate, the proximal step: LASEM's constant 0.8 as
  such would remove every new unit at once;
- the mean cross-entropy of the last epoch decides about expansion; there that of the last batch;
- of more units than can be split those go that moved most, as in the paper; there, by the order of
  a sort, those that moved least;
- the copy of a split unit takes its bias and its outgoing weights along, as in the paper; there its
  bias and its weights to the output are drawn anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.data import Batch, Visit
from lifelong.networks.expandable import ExpandableNetwork, Growing
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts import units
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Round, Rounds, Strategy

DRIFTS = ("selective", "split")  # phases in which old weights are trained and held


class DEN(Strategy):
    """Phases of a task: output, selective, and if the loss stays high expansion and split.

    What a phase trains, biases too, has weight decay and a soft threshold. In the selective phase
    and after the split it is held to where it was before the task. In the expansion new units and
    the output are trained, and two kinds of vectors have a group threshold: what a new unit takes
    from older ones, and what any unit takes from the new ones below.

    Args:
        network: whose layers can grow.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        epochs: of a phase, the run's epochs for a task.
        l1: soft threshold at every step.
        l2: weight of half the squared norm.
        group: threshold on the norm of those vectors at every step, times the rate.
        drift: weight of half the squared distance from the weights before the task.
        expand_above: cross-entropy in training above which units are added.
        grow: units added to each layer, and most units split in each.
        split_above: distance that a unit's incoming weights may move before it is split.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import DEN, ExpandableNetwork, MultiHead, mlp
    >>> network = ExpandableNetwork(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> method = DEN(network, partial(SGD, lr=0.1), epochs=10, grow=4)
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> for visit in stream.visits[:2]:
    ...     method.begin_task(visit)
    >>> next(method.rounds(visit)).name
    'output'
    """

    divides: ClassVar[bool] = True
    refuses: Mapping[str, str] = {
        **Strategy.refuses,
        "optimizer_groups": "its thresholds go with one learning rate for all weights",
        "optimizer_lifetime": "layers that grow are new parameters; give task",
        "online": "it trains several times on the images of a task",
    }
    acts_with: ClassVar[dict[str, str]] = {
        "group": "grow!=0",
        "expand_above": "grow!=0",
        "split_above": "grow!=0",
    }

    network: ExpandableNetwork

    def __init__(
        self,
        network: ExpandableNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        epochs: int,
        l1: float = 1e-6,
        l2: float = 0.01,
        group: float = 0.8,
        drift: float = 0.5,
        expand_above: float = 0.01,
        grow: int = 16,
        split_above: float = 0.05,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if grow < 0:
            raise ValueError(f"strategy.grow={grow}: give a whole number, 0 or more")
        self.l1, self.l2, self.group, self.drift = l1, l2, group, drift
        self.expand_above, self.grow, self.split_above = expand_above, grow, split_above
        self.output_epochs = max(1, epochs // 10)
        self.method |= {"tasks": {}}
        self._phase: dict[str, Any] = {}
        self._old: list[units.Values] = []  # of each layer before the task
        self._entropy = torch.zeros(())

    def begin_task(self, visit: Visit) -> None:
        self._new = visit.task.index not in self.classes
        super().begin_task(visit)
        self._task = visit.task.index

    def rounds(self, visit: Visit) -> Rounds:
        if len(self.classes) == 1 and self._new:
            self._begin("train")
            yield Round()
        else:
            yield from self._later_task()
        if self._new:
            self.network.stamps[visit.task.index] = self.network.widths
        self.method["tasks"][str(visit.task.number)] = {"widths": self.network.widths}
        self._phase, self._old = {}, []

    def _later_task(self) -> Rounds:
        if self._new:
            self._begin("output")
            yield Round("output", epochs=self.output_epochs)
        self._old = units.copies(self.network.growing())
        self._begin("selective")
        metrics = yield Round("selective")
        if not self._new or not self.grow or metrics["train/cross_entropy"] <= self.expand_above:
            return
        self.network.grow(self._task, [self.grow] * len(self._old))
        self._begin("expansion")
        yield Round("expansion")
        self._drop_dead()
        self._split()
        self._begin("split")
        yield Round("split")

    def _layers(self) -> list[Growing]:
        return [*self.network.growing(), self.network.head(self._task)]

    def _widths(self) -> list[int]:
        """Units of each layer before the task."""
        return [len(bias) for _, bias in self._old]

    def _begin(self, phase: str) -> None:
        for layer in self.network.growing():
            layer.requires_grad_(phase != "output")
        held = units.copies(self._layers())
        self._phase = {"name": phase, "trained": self._trained(phase), "held": held}

    def _trained(self, phase: str) -> list[units.Trained]:
        """Which weights and biases a phase trains, of each layer and of the task's output."""
        *layers, head = self._layers()
        if phase == "output":
            return [*(units.all_of(layer, False) for layer in layers), units.all_of(head)]
        if phase == "selective":
            own = self.network.stamps.get(self._task, self.network.widths)
            return units.connected(layers, head, own)
        if phase == "expansion":
            return [*units.involving_new(layers, self._widths()), units.all_of(head)]
        return [units.all_of(layer) for layer in self._layers()]

    def _drop_dead(self) -> None:
        """Removes new units whose incoming weights are all zero."""
        self.network.drop(self._task, units.dead(self.network.growing(), self._widths()))
        self.best = None  # had other units

    def _split(self) -> None:
        """Doubles units that moved too far; the old copy goes back to before the task."""
        moved = [
            units.moved_most(layer, weight, self.grow, self.split_above)
            for layer, (weight, _) in zip(self.network.growing(), self._old, strict=True)
        ]
        self.network.split(self._task, moved, self._old)

    def training_loss(self, batch: Batch) -> Tensor:
        loss = F.cross_entropy(self(batch.x, batch.t), batch.y)
        self.note(partial(self._entropy.add_, loss.detach()))
        size = units.squared_size(self._layers(), self._phase["trained"])
        if self._phase["name"] not in DRIFTS:
            return loss + self.l2 / 2 * size
        distance = units.squared_distance(self.network.growing(), self._old)
        return loss + self.l2 / 2 * size + self.drift / 2 * distance

    def after_step(self) -> None:
        """Thresholds, and puts back what the phase does not train."""
        layers = self._layers()
        units.soften(layers, self.l1)
        units.put_back(layers, self._phase["trained"], self._phase["held"])
        if self._phase["name"] == "expansion":
            rate = self.optimizer.param_groups[0]["lr"]
            units.shrink_groups(self.network.growing(), self._widths(), self.group * rate)

    def on_fit_start(self) -> None:
        """What a phase remembers may come from before the move to the device, or from a file."""
        self._old = [(weight.to(self.device), bias.to(self.device)) for weight, bias in self._old]
        for name in ("trained", "held"):
            here = [(a.to(self.device), b.to(self.device)) for a, b in self._phase[name]]
            self._phase[name] = here

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._entropy = torch.zeros((), device=self.device)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.log("train/cross_entropy", float(self._entropy) / self.epoch_steps)

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "phase": self._phase, "old": self._old}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self._phase, self._old = state["phase"], state["old"]
