"""Class-incremental learning under masks: what the ways to lifelong tickets have in common.

Chen, Zhang, Liu, Chang, Wang, "Long Live the Lottery: The Existence of Winning Tickets in Lifelong
Learning", ICLR 2021. Convolutions are pruned by the size of their weights, all layers together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Unpack

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from lifelong.data import Batch, Visit
from lifelong.networks import TwoBranchNetwork
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.copies import put_back, tensors_of
from lifelong.parts.masks import Masks, Ranking
from lifelong.parts.ticket import Found
from lifelong.strategies.cil import CIL, CILOptions
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Round

ROUND_LR_SCALE = 0.01  # factor on the rate in pruning rounds

Prunes = Literal["convolutions", "maps"]
PRUNED = {"convolutions": (4,), "maps": (2, 4)}  # dimensions of the weights

if TYPE_CHECKING:
    from lifelong.drawing import Drawings, Results


class TicketsOptions(CILOptions, total=False):
    """Options of `Tickets` that every method takes that stands on it."""

    round_epochs: int
    ranking: Ranking
    prunes: Prunes
    keep_rounds: bool


class Tickets(CIL):
    """`CIL` whose convolutions are trained under `masks`; by itself it prunes nothing.

    Args:
        network: see `CIL`.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.
        round_epochs: of the training between two prunings, at a hundredth of the rate.
        ranking: which weights go first: those of the smallest absolute value of all convolutions
            together (`magnitude`), of each convolution the same share (`layerwise`), or `random`.
        prunes: weights of `convolutions` alone (the paper), or of all linear maps of the body
            (`maps`), such as those of a vision transformer.
        keep_rounds: keep the mask after every pruning, packed, in checkpoints.
        **options: of `CIL`.

    Attributes:
        masks: in force.
        round_masks: by visit the masks after each of its prunings, where `keep_rounds`.
        tickets: by visit the mask that was found for its task, see `Masks.packed`.
        first: the network as it was made, each task's heads as they were added.
        start: the network as it was when the last training under a ticket's mask began.
        start_mask: what `start` holds of the kernels, see `Masks.packed`; empty for all.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import Tickets, MultiHead, TwoBranchNetwork, convnet
    >>> body = partial(convnet, (1, 8, 8), [4, 8], [2, 2])
    >>> network = TwoBranchNetwork(body, MultiHead)
    >>> method = Tickets(network, partial(SGD, lr=0.1), batch_size=64, ranking="layerwise")
    >>> method.masks.remaining()
    1.0
    """

    divides: ClassVar[bool] = True
    refuses: Mapping[str, str] = {
        **CIL.refuses,
        "online": "it trains several times on the images of a task",
    }

    def __init__(
        self,
        network: TwoBranchNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        round_epochs: int = 30,
        ranking: Ranking = "magnitude",
        prunes: Prunes = "convolutions",
        keep_rounds: bool = False,
        **options: Unpack[CILOptions],
    ) -> None:
        super().__init__(network, optimizer, schedule, **options)
        self.ranking, self.keep_rounds = ranking, keep_rounds
        self.round_masks: dict[str, list[dict[str, Any]]] = {}
        if round_epochs < 1:
            raise ValueError(f"strategy.round_epochs={round_epochs}: give 1 or more")
        self.round_epochs = round_epochs
        self._prunable = {
            n: p
            for n, p in self.network.body.named_parameters()
            if n.endswith("weight") and p.dim() in PRUNED[prunes]
        }
        if not self._prunable:
            raise ValueError(
                f"strategy.prunes={prunes}: the backbone has no such weights; give maps, or "
                "another backbone"
            )
        self.masks = Masks(self.prunable())
        self.tickets: dict[str, dict[str, Any]] = {}
        self.first: dict[str, Tensor] = {}
        self.start: dict[str, Tensor] = {}
        self.start_mask: dict[str, Any] = {}
        self.method |= {
            "remaining": {}, "remaining_of_network": {}, "density": {}, "measured_with": {}
        }  # fmt: skip

    def prunable(self) -> dict[str, nn.Parameter]:
        """The kernels of the body's convolutions, by name."""
        return self._prunable  # asked in every step

    @staticmethod
    def drawings(results: Results) -> Drawings:
        """See `Strategy.drawings`."""
        from lifelong.strategies.tickets_figures import drawings

        return drawings(results)

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        self.first = self.state() | self.first  # what is there already is that of then

    def _pruning_round(self, visit: Visit, name: str) -> Round:
        """Training between two prunings, which goes on from the last epoch's weights."""
        one = self._round(visit)
        train = (lambda: visit.train) if one.train is None else one.train
        val = (lambda: visit.task.val) if one.val is None else one.val
        return replace(
            one, name=name, epochs=self.round_epochs, lr_scale=ROUND_LR_SCALE, restore_best=False,
            train=train, val=val,
        )  # fmt: skip

    @torch.no_grad()
    def _prune(self, visit: Visit, rate: float, locked: Masks | None = None) -> None:
        self.masks.prune(self.prunable(), rate, locked, self.ranking)
        self.masks.hold(self.prunable())
        if self.keep_rounds:
            self.round_masks.setdefault(str(visit.number), []).append(self.masks.packed())

    def _note(self, visit: Visit) -> None:
        """Keeps the mask in force as the ticket of a visit."""
        number, masks = str(visit.number), self.masks
        self.tickets[number] = masks.packed()
        removed = round((1 - masks.remaining()) * sum(p.numel() for p in self.prunable().values()))
        size = sum(p.numel() for p in self.network.parameters())
        self.method["remaining"][number] = round(masks.remaining(), 6)
        self.method["remaining_of_network"][number] = round(1 - removed / size, 6)
        self.method["density"][number] = {
            name: round(share, 6) for name, share in masks.by_layer().items()
        }
        empty = [name for name, share in masks.by_layer().items() if not share]
        if empty:
            self.tell(f"visit {visit.number}: the mask keeps nothing of {', '.join(empty)}")

    def state(self) -> dict[str, Tensor]:
        """A copy of the network."""
        return tensors_of(self.network)

    def take(self, tensors: Mapping[str, Tensor]) -> None:
        """Makes the network what `state` gave; what that lacks stays."""
        put_back(self.network, tensors)

    def ticket_of(self, number: int) -> Found | None:
        """The ticket that was found for a visit, if it is at hand; here the newest one."""
        start = self.start or self.first
        return Found(self.masks.packed(), start, self.state(), "accuracy")

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self.masks.hold_gradients(self.prunable())

    def after_step(self) -> None:
        self.masks.hold(self.prunable())

    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        self.method["measured_with"][str(visit.number)] = round(self.masks.remaining(), 6)
        super().end_task(visit, loader)

    def get_extra_state(self) -> dict[str, Any]:
        return super().get_extra_state() | {name: getattr(self, name) for name in self._kept()}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        for name in self._kept():
            setattr(self, name, state.get(name, getattr(self, name)))

    def _kept(self) -> tuple[str, ...]:
        """Attributes that a checkpoint holds."""
        return "tickets", "round_masks", "first", "start", "start_mask"
