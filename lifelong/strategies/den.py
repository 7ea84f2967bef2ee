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

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from lifelong.data import Batch, Visit
from lifelong.networks.expandable import ExpandableNetwork, Growing
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Round, Rounds, Strategy

Values = tuple[Tensor, Tensor]  # weight and bias of a layer
Trained = tuple[Tensor, Tensor]  # of a layer: pairs of units (u, v) and units (u,) that are trained
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
    """

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
        self.method = {"tasks": {}}
        self._phase: dict[str, Any] = {}
        self._old: list[Values] = []  # of each layer before the task
        self._entropy = torch.zeros(())

    def begin_task(self, visit: Visit) -> None:
        self._new = visit.task.index not in self.classes
        super().begin_task(visit)
        self._task = visit.task.index

    def rounds(self, visit: Visit) -> Rounds:
        if len(self.classes) == 1 and self._new:
            self._begin("train", self._everything())
            yield Round()
        else:
            yield from self._later_task()
        if self._new:
            self.network.stamps[visit.task.index] = self.network.widths
        self.method["tasks"][str(visit.task.number)] = {"widths": self.network.widths}
        self._phase, self._old = {}, []

    def _later_task(self) -> Rounds:
        if self._new:
            self._begin("output", self._output())
            yield Round("output", epochs=self.output_epochs)
        self._old = self._values()
        self._begin("selective", self._connected())
        metrics = yield Round("selective")
        if not self._new or not self.grow or metrics["train/cross_entropy"] <= self.expand_above:
            return
        self.network.grow(self._task, [self.grow] * len(self._old))
        self._begin("expansion", self._involving_new())
        yield Round("expansion")
        self._drop_dead()
        self._split()
        self._begin("split", self._everything())
        yield Round("split")

    # Which weights and biases a phase trains, of each layer and of the task's output.

    def _layers(self) -> list[Growing]:
        return [*self.network.growing(), self.network.head(self._task)]

    def _everything(self) -> list[Trained]:
        return [_all(layer, True) for layer in self._layers()]

    def _output(self) -> list[Trained]:
        hidden = [_all(layer, False) for layer in self.network.growing()]
        return [*hidden, _all(self.network.head(self._task), True)]

    def _widths(self) -> list[int]:
        """Units of each layer before the task."""
        return [len(bias) for _, bias in self._old]

    def _involving_new(self) -> list[Trained]:
        """From or to units that the task added, the biases of these, and the output."""
        found, below = [], None
        for layer, width in zip(self.network.growing(), self._widths(), strict=True):
            pairs, units = _all(layer, False)
            pairs[width:] = True
            units[width:] = True
            if below is not None:
                pairs[:, below:] = True
            found.append((pairs, units))
            below = width
        return [*found, _all(self.network.head(self._task), True)]

    def _connected(self) -> list[Trained]:
        """Between units that the task's outputs depend on, through weights not zero."""
        own = self.network.stamps.get(self._task, self.network.widths)
        head = self.network.head(self._task)
        units = _nonzero(head).any(0)  # (v,) of the last layer
        found = [(units.expand(_all(head, True)[0].shape).clone(), _all(head, True)[1])]
        for number in reversed(range(len(own))):
            layer = self.network.growing()[number]
            units = F.pad(units, (0, len(layer.bias) - len(units)))
            pairs = units[:, None].expand(layer.weight.shape[:2]).clone()
            here = units
            if number > 0:
                links = _nonzero(layer) & pairs
                links[:, own[number - 1] :] = False
                units = links.any(0)
                pairs &= units
            found.append((pairs, here))
        return found[::-1]

    # What happens between phases.

    def _begin(self, name: str, trained: list[Trained]) -> None:
        """Begins a phase."""
        for layer in self.network.growing():
            layer.requires_grad_(name != "output")
        self._phase = {"name": name, "trained": trained, "held": _copies(self._layers())}

    def _values(self) -> list[Values]:
        """Weights and biases of the layers as they are now."""
        return _copies(self.network.growing())

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
        return loss + self.l2 / 2 * self._size() + self.drift / 2 * self._distance()

    def _size(self) -> Tensor:
        """Squared norm of what the phase trains."""
        parts = []
        for layer, (pairs, units) in zip(self._layers(), self._phase["trained"], strict=True):
            if layer.weight.requires_grad:
                parts += [layer.weight * _wide(pairs, layer), layer.bias * units]
        return torch.stack([part.square().sum() for part in parts]).sum()

    def _distance(self) -> Tensor:
        """Squared distance of old units from where they were before the task."""
        if self._phase["name"] not in DRIFTS:
            return torch.zeros((), device=self.device)
        parts = []
        for layer, (weight, bias) in zip(self.network.growing(), self._old, strict=True):
            units, below = weight.shape[:2]
            parts += [layer.weight[:units, :below] - weight, layer.bias[:units] - bias]
        return torch.stack([part.square().sum() for part in parts]).sum()

    @torch.no_grad()
    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Thresholds, and puts back what the phase does not train."""
        optimizer: Any = self.optimizers(use_pl_optimizer=False)
        rate = optimizer.param_groups[0]["lr"]
        phase = self._phase
        for layer, trained, held in zip(
            self._layers(), phase["trained"], phase["held"], strict=True
        ):
            pairs, units = _wide(trained[0], layer), trained[1]
            _soften(layer.weight, self.l1)
            _soften(layer.bias, self.l1)
            layer.weight.copy_(torch.where(pairs, layer.weight, held[0]))
            layer.bias.copy_(torch.where(units, layer.bias, held[1]))
        if phase["name"] == "expansion":
            self._shrink_groups(self.group * rate)

    @torch.no_grad()
    def _shrink_groups(self, threshold: float) -> None:
        below = None
        for layer, width in zip(self.network.growing(), self._widths(), strict=True):
            every = torch.ones(len(layer.bias), dtype=torch.bool, device=layer.bias.device)
            new = every.clone()
            new[:width] = False
            _shrink(layer.weight[:, :below], new, threshold)
            if below is not None:
                _shrink(layer.weight[:, below:], every, threshold)
            below = width

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
        self.log("train/cross_entropy", float(self._entropy) / self.trainer.num_training_batches)

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "phase": self._phase, "old": self._old}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self._phase, self._old = state["phase"], state["old"]


def _all(layer: Growing, value: bool) -> Trained:
    """Masks of all of a layer's weights and biases."""
    device = layer.weight.device
    return (
        torch.full(layer.weight.shape[:2], value, device=device),
        torch.full(layer.bias.shape, value, device=device),
    )


def _copies(layers: Sequence[Growing]) -> list[Values]:
    return [(layer.weight.detach().clone(), layer.bias.detach().clone()) for layer in layers]


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
