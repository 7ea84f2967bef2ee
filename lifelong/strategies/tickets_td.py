"""Lifelong tickets from the top down: the network is pruned a little more with every task.

Chen, Zhang, Liu, Chang, Wang, "Long Live the Lottery: The Existence of Winning Tickets in Lifelong
Learning", ICLR 2021. Convolutions are pruned by the size of their weights, all layers together;
what is left is rewound, and the next task is learned under the mask.

Departures from the released program: weights are ranked as the last epoch left them (there the
first ranking of a stage is by stale ones); each pruning round has an optimizer of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lifelong.backbones.backbone import draw
from lifelong.data import Batch, Task
from lifelong.data.sources import Source
from lifelong.data.transforms import Transform
from lifelong.networks import TwoBranchNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.anchor import key
from lifelong.parts.masks import Masks
from lifelong.strategies.cil import CIL
from lifelong.strategies.strategy import MakeOptimizer, Rounds

Pruning = Sequence[Sequence[float]]
PRESETS: dict[str, Pruning] = {
    "release": [[0.2] * count for count in (1, 1, 2, 3, 5)],
    "paper_cifar10": [[0.2] * count for count in (1, 1, 3, 4, 5)],
    "paper_cifar100": [[0.2]] * 9 + [[0.2, 0.1]],
}
ROUND_RATE = 0.01  # factor on the rate in pruning rounds


class TicketsTD(CIL):
    """Class-incremental learning of ever sparser networks.

    After a task's training: its last epoch's weights are pruned and trained on in turn, pruned
    once more and rewound; then the next task is trained under the mask, or, after the last one,
    the last task again. Before the next task is trained the network of the best epoch is measured
    and teaches.

    Args:
        network: see `CIL`.
        optimizer: see `Strategy`.
        pruning: for each visit of the stream the shares of the weights left that go, one after the
            other; or a preset, `release`, `paper_cifar10` or `paper_cifar100`. More than there are
            visits do no harm.
        rewind: what the weights left of convolutions become: `zero`, as at the very first; `best`,
            as in the best epoch of the task; `rand`, drawn anew; `none`, as they are.
        round_epochs: of the training between two prunings, at a hundredth of the rate.
        schedule, batch_size, memory, exemplars, unlabeled, neighbours, most, temperature,
            transform: see `CIL`.

    Raises:
        ValueError: shares out of range.
    """

    def __init__(
        self,
        network: TwoBranchNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        batch_size: int,
        pruning: str | Pruning = "release",
        rewind: Literal["zero", "best", "rand", "none"] = "zero",
        round_epochs: int = 30,
        memory: int = 100,
        exemplars: Literal["random", "herding"] = "random",
        unlabeled: str | Source = "none",
        neighbours: int = 50,
        most: int | None = None,
        temperature: float = 2.0,
        transform: Transform | None = None,
    ) -> None:
        super().__init__(
            network, optimizer, schedule, batch_size=batch_size, memory=memory,
            exemplars=exemplars, unlabeled=unlabeled, neighbours=neighbours, most=most,
            temperature=temperature, transform=transform,
        )  # fmt: skip
        if isinstance(pruning, str) and pruning not in PRESETS:
            raise ValueError(
                f"strategy.pruning={pruning}: give {', '.join(PRESETS)}, or a list of lists"
            )
        self.pruning = PRESETS[pruning] if isinstance(pruning, str) else pruning
        if any(not 0 <= rate < 1 for rates in self.pruning for rate in rates):
            raise ValueError(f"strategy.pruning={pruning}: give shares from 0 to below 1")
        if round_epochs < 1:
            raise ValueError(f"strategy.round_epochs={round_epochs}: give 1 or more")
        self.rewind, self.round_epochs = rewind, round_epochs
        self._prunable = {n: p for n, p in self.two.body.named_parameters() if p.dim() == 4}
        self.masks = Masks(self.prunable())
        for name, p in self.prunable().items():
            self.register_buffer(f"first_{key(name)}", p.detach().clone())
        self._last: dict[str, Tensor] = {}  # the network as the last epoch left it
        self._best: dict[str, Tensor] = {}  # convolutions of the best epoch
        self._taught_before: dict[str, Any] = {}  # U of the task before
        self._looks_back = False  # while the task before is pruned
        self._visits: list[Task] = []
        self.method |= {"remaining": {}, "density": {}}

    def prunable(self) -> dict[str, nn.Parameter]:
        """The kernels of the body's convolutions, by name."""
        return self._prunable  # asked in every step

    def check(self, tasks: Sequence[Task]) -> None:
        super().check(tasks)
        if len(self.pruning) < len(tasks):
            raise ValueError(
                f"strategy.pruning: has shares for {len(self.pruning)} tasks; give one list for "
                f"each of the {len(tasks)} tasks"
            )

    def begin_task(self, task: Task) -> None:
        self._visits = [visit for visit in self._visits if visit.step < task.step]
        super().begin_task(task)
        self._visits.append(task)

    def rounds(self, task: Task) -> Rounds:
        if len(self._visits) > 1:
            yield from self._pruned(self._visits[-2])
            self._enter(task, list(self.classes))
        yield self._round(task)
        if task.last:
            yield from self._pruned(task)
            yield self._round(task)

    def _pruned(self, stage: Task) -> Rounds:
        """Prunes in rounds on the images of a task just learned, and rewinds."""
        now = stage.step == self._visits[-1].step  # after the last task it is the current one
        if not now:
            self._looks_back = True
            self._enter(stage, self._known(stage))
        self._best = {name: p.detach().clone() for name, p in self.prunable().items()}
        self._load(self._last)
        rates = list(self.pruning[min(stage.step, len(self.pruning) - 1)])
        for number, rate in enumerate(rates, 1):
            self._prune(rate)
            if number < len(rates):
                one = self._round(stage)
                train = (lambda: stage.train) if one.train is None else one.train
                yield replace(
                    one, name=f"pruning {number} of {len(rates)}", epochs=self.round_epochs,
                    rate=ROUND_RATE, restores=False, train=train,
                )  # fmt: skip
        self._rewind()
        self.epochs_trained = self.began  # the schedule begins anew
        self._looks_back = False
        self.method["remaining"][str(stage.step)] = round(self.masks.remaining(), 6)
        self.method["density"][str(stage.step)] = {
            name: round(share, 6) for name, share in self.masks.by_layer().items()
        }

    @property
    def teacher(self) -> dict[str, Any]:
        return self._taught_before if self._looks_back else self._taught

    def _known(self, stage: Task) -> list[int]:
        """The tasks met until a visit, in the order in which they came."""
        met = dict.fromkeys(visit.index for visit in self._visits if visit.step <= stage.step)
        return list(met)

    @torch.no_grad()
    def _prune(self, rate: float) -> None:
        named = self.prunable()
        self.masks.prune(named, rate)
        self.masks.hold(named)

    @torch.no_grad()
    def _rewind(self) -> None:
        for name, p in self.prunable().items():
            if self.rewind == "zero":
                p.copy_(self.get_buffer(f"first_{key(name)}"))
            elif self.rewind == "best":
                p.copy_(self._best[name])
            elif self.rewind == "rand":
                draw(p, p.new_empty(len(p)), "uniform")
        self.masks.hold(self.prunable())

    @torch.no_grad()
    def _load(self, tensors: dict[str, Tensor]) -> None:
        for name, value in self.two.state_dict().items():
            if name in tensors and torch.is_tensor(value):
                value.copy_(tensors[name])

    def on_after_backward(self) -> None:
        self.masks.hold_gradients(self.prunable())

    def on_train_batch_end(self, outputs: object, batch: Batch, batch_idx: int) -> None:
        self.masks.hold(self.prunable())

    def on_train_end(self) -> None:
        """Keeps the last epoch's network, before the best one is put back."""
        self._last = {
            name: value.detach().clone()
            for name, value in self.two.state_dict().items()
            if torch.is_tensor(value)
        }

    def end_task(self, task: Task, loader: DataLoader[Batch]) -> None:
        self._taught_before = self._taught
        super().end_task(task, loader)

    def get_extra_state(self) -> dict[str, Any]:
        own = {"last": self._last, "best": self._best, "taught_before": self._taught_before}
        return super().get_extra_state() | own

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self._last, self._best = state["last"], state["best"]
        self._taught_before = state["taught_before"]
