"""Dynamically expandable networks (DEN): retrain a part, grow where that is not enough, split.

Yoon, Yang, Lee, Hwang, "Lifelong Learning with Dynamically Expandable Networks", ICLR 2018. A
unit is a filter of a convolution or a neuron. The method's public program is fully connected, and
the one behind LASEM's numbers (ICML 2021) is not published; this follows the rules of the public
program with the constants that LASEM's release names, and is an approximation of what LASEM
compared with.

Departures from the public program: softmax cross-entropy; fixed epochs for each phase instead of
early stopping (a tenth of the budget for the output layer, the whole for each other phase); the
group threshold is `group` times the learning rate, the proximal step: LASEM's constant 0.8 as
such would remove every new unit at once.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.data import Batch, Task
from lifelong.networks.expandable import ExpandableNetwork, Growing
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.strategy import MakeOptimizer, Round, Rounds, Strategy

Values = tuple[Tensor, Tensor]  # weight and bias of a layer


class DEN(Strategy):
    """Phases of a task: output, selective, expansion if the loss stays high, split of what drifted.

    Args:
        network: whose layers can grow.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        epochs: of a phase, the run's epochs for a task.
        l1: soft threshold on weights at every step, where sparse weights are wanted.
        l2: weight of half the squared norm of the weights there.
        group: threshold on the incoming vector of a new unit at every step, times the rate.
        drift: weight of half the squared distance from the weights before, in retraining.
        expand_above: cross-entropy in training above which units are added.
        grow: units added to each layer, and most units split in each.
        split_above: distance that a unit's incoming weights may move before it is split.
    """

    refuses: ClassVar[dict[str, str]] = Strategy.refuses | {
        "optimizer_lifetime": "layers that grow are new parameters; give task"
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
        self.method = {"tasks": {}}
        self._phase: dict[str, Any] = {}
        self._old: list[Values] = []  # of each layer before the task
        self._entropy = torch.zeros(())

    def begin_task(self, task: Task) -> None:
        self._new = task.index not in self.classes
        super().begin_task(task)
        self._task = task.index

    def rounds(self, task: Task) -> Rounds:
        if len(self.classes) == 1 and self._new:
            self._begin("train", self._everything())
            yield Round()
        else:
            yield from self._later_task()
        if self._new:
            self.network.stamps[task.index] = self.network.widths
        self.method["tasks"][str(task.index)] = {"widths": self.network.widths}
        self._phase, self._old = {}, []

    def _later_task(self) -> Rounds:
        if self._new:
            self._begin("output", None)
            yield Round("output", epochs=self.output_epochs)
        self._old = self._values()
        self._begin("selective", self._connected())
        metrics = yield Round("selective")
        if not self._new or not self.grow:
            return
        if metrics["train/cross_entropy"] > self.expand_above:
            self.network.grow(self._task, [self.grow] * len(self._old))
            self._begin("expansion", self._involving_new())
            yield Round("expansion")
            self._drop_dead()
        if metrics["den/drifted"] > 0:
            self._split()
            masks = [a | b for a, b in zip(self._connected(), self._involving_new(), strict=True)]
            self._begin("split", masks)
            yield Round("split")

    # Which weights a phase trains: for each layer a mask over pairs of units, (u, v).

    def _everything(self) -> list[Tensor]:
        return [_pairs(layer, True) for layer in self.network.growing()]

    def _widths(self) -> list[int]:
        """Units of each layer before the task."""
        return [len(bias) for _, bias in self._old]

    def _involving_new(self) -> list[Tensor]:
        """Weights from or to units that the task added."""
        masks, below = [], None
        for layer, width in zip(self.network.growing(), self._widths(), strict=True):
            mask = _pairs(layer, False)
            mask[width:] = True
            if below is not None:
                mask[:, below:] = True
            masks.append(mask)
            below = width
        return masks

    def _connected(self) -> list[Tensor]:
        """Weights between units that the task's outputs depend on, through weights not zero."""
        own = self.network.stamps.get(self._task, self.network.widths)
        units = _nonzero(self.network.head(self._task)).any(0)  # (v,) of the last layer
        masks = []
        for number in reversed(range(len(own))):
            layer = self.network.growing()[number]
            units = F.pad(units, (0, len(layer.bias) - len(units)))
            links = _nonzero(layer) & units[:, None]
            if number > 0:
                links[:, own[number - 1] :] = False
                below = links.any(0)
                masks.append(units[:, None] & below[None, :])
                units = below
            else:
                masks.append(units[:, None].expand(_pairs(layer, True).shape).clone())
        return masks[::-1]

    # What happens between phases.

    def _begin(self, name: str, masks: list[Tensor] | None) -> None:
        """Begins a phase that trains the weights in `masks`, or the output alone."""
        for layer in self.network.growing():
            layer.requires_grad_(masks is not None)
        self._phase = {"name": name, "masks": masks, "held": self._values()}

    def _values(self) -> list[Values]:
        """Weights and biases as they are now."""
        layers = self.network.growing()
        return [(layer.weight.detach().clone(), layer.bias.detach().clone()) for layer in layers]

    @torch.no_grad()
    def _drop_dead(self) -> None:
        """Removes new units whose incoming weights are all zero."""
        dead = []
        for layer, width in zip(self.network.growing(), self._widths(), strict=True):
            gone = ~_nonzero(layer).any(1)
            gone[:width] = False
            dead.append(gone)
        self.network.drop(self._task, dead)
        self.best = None  # had other units

    @torch.no_grad()
    def _split(self) -> None:
        """Doubles units that moved: the old copy goes back, the new one keeps what it learned."""
        chosen = [self._drifted(number) for number in range(len(self._old))]
        now = self.network.widths
        self.network.grow(self._task, [len(units) for units in chosen])
        above = [*self.network.growing()[1:], self.network.head(self._task)]
        for number, units in enumerate(chosen):
            layer, (weight, bias) = self.network.growing()[number], self._old[number]
            layer.weight[now[number] :] = layer.weight[units]
            layer.bias[now[number] :] = layer.bias[units]
            layer.weight[units, : weight.shape[1]] = weight[units]
            layer.bias[units] = bias[units]
            following = above[number]
            following.weight[:, now[number] :] = following.weight[:, units]

    def _drifted(self, number: int) -> Tensor:
        """Units of a layer that moved too far, at most `grow`, those that moved most first."""
        old, _ = self._old[number]
        now = self.network.growing()[number].weight[: len(old), : old.shape[1]]
        distance = (now - old).flatten(1).norm(dim=1)
        order = distance.argsort(descending=True)[: self.grow]
        chosen: Tensor = order[distance[order] > self.split_above]
        return chosen

    # What happens at every step.

    def training_loss(self, batch: Batch) -> Tensor:
        loss = F.cross_entropy(self(batch.x, batch.t), batch.y)
        self._entropy += loss.detach()
        layers = self.network.growing()
        if self._phase["name"] in ("selective", "split"):
            moved = [
                (layer.weight - before).square().sum()
                for layer, (before, _) in zip(layers, self._phase["held"], strict=True)
            ]
            return loss + self.drift / 2 * torch.stack(moved).sum()
        sizes = [self.network.head(self._task).weight.square().sum()]
        if self._phase["masks"] is not None:
            pairs = zip(layers, self._phase["masks"], strict=True)
            sizes += [(layer.weight * _wide(mask, layer)).square().sum() for layer, mask in pairs]
        return loss + self.l2 / 2 * torch.stack(sizes).sum()

    @torch.no_grad()
    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Thresholds, and puts back what the phase does not train."""
        name, masks = self._phase["name"], self._phase["masks"]
        sparse = name not in ("selective", "split")
        if sparse:
            _soften(self.network.head(self._task).weight, self.l1)
        if masks is None:
            return
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        rate = optimizer.param_groups[0]["lr"]
        for layer, mask, (weight, bias) in zip(
            self.network.growing(), masks, self._phase["held"], strict=True
        ):
            if sparse:
                _soften(layer.weight, self.l1)
            if name == "expansion":
                _shrink(layer.weight, mask.all(1), self.group * rate)
            layer.weight.copy_(torch.where(_wide(mask, layer), layer.weight, weight))
            rows = mask.all(1) if name == "expansion" else mask.any(1)
            layer.bias.copy_(torch.where(rows, layer.bias, bias))

    def on_fit_start(self) -> None:
        """What a phase remembers may come from before the move to the device, or from a file."""
        self._old = [(weight.to(self.device), bias.to(self.device)) for weight, bias in self._old]
        held = [(w.to(self.device), b.to(self.device)) for w, b in self._phase["held"]]
        masks = self._phase["masks"]
        masks = None if masks is None else [mask.to(self.device) for mask in masks]
        self._phase = {"name": self._phase["name"], "masks": masks, "held": held}

    def on_train_epoch_start(self) -> None:
        super().on_train_epoch_start()
        self._entropy = torch.zeros((), device=self.device)

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.log("train/cross_entropy", float(self._entropy) / self.trainer.num_training_batches)
        if self._phase["name"] == "selective":
            moved = sum(len(self._drifted(number)) for number in range(len(self._old)))
            self.log("den/drifted", float(moved))

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "phase": self._phase, "old": self._old}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self._phase, self._old = state["phase"], state["old"]


def _pairs(layer: Growing, value: bool) -> Tensor:
    """A mask over the pairs of units of a layer, (u, v)."""
    return torch.full(layer.weight.shape[:2], value, device=layer.weight.device)


def _nonzero(layer: Growing) -> Tensor:
    """Which pairs of units are linked, (u, v)."""
    return (
        layer.weight.detach().flatten(2).ne(0).any(2)
        if layer.weight.dim() > 2
        else (layer.weight.detach() != 0)
    )


def _wide(mask: Tensor, layer: Growing) -> Tensor:
    """A mask over pairs (u, v) in the shape of the weight."""
    return mask.view(*mask.shape, *[1] * (layer.weight.dim() - 2))


def _soften(weight: Tensor, threshold: float) -> None:
    """Soft threshold, in place."""
    weight.copy_(weight.sign() * (weight.abs() - threshold).clamp(min=0))


def _shrink(weight: Tensor, rows: Tensor, threshold: float) -> None:
    """Group soft threshold on the marked rows, in place."""
    norms = weight[rows].flatten(1).norm(dim=1)
    factors = (1 - threshold / norms.clamp(min=1e-30)).clamp(min=0)
    weight[rows] *= factors.view(-1, *[1] * (weight.dim() - 1))
