"""Brute-force search: each task is learned under every configuration, and the best one stays.

The upper comparison of LASEM (ICML 2021), as in its released program: from the second task on every
candidate starts from the state after the task before and is trained for the whole budget of epochs;
the one with the highest validation accuracy in any epoch is chosen, with the parameters of its last
epoch. The first task is learned once; while the second one is searched, the first is expressed
anew in the same configuration as the second.

Departure from the released program: all candidates of a task start from the same new weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch

from lifelong.data import Visit
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.architecture_search import ArchitectureSearch
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Round, Rounds
from lifelong.transfer import TransferConfig, TransferLayer, TransferNetwork
from lifelong.transfer.config import pattern_code

if TYPE_CHECKING:
    from lifelong.drawing import Drawings, Results


class BruteForce(ArchitectureSearch):
    """Trains every configuration for every task; of equally good ones the first is chosen.

    Args:
        network: a transfer network with the candidate configurations.
        optimizer: see `Strategy`.
        schedule: see `Strategy`; every candidate begins at the same epoch of it.
        first_task: what the first task shares before the second is met: `none` or `all`. With
            `none` its own weights become the shared ones, which only hard sharing can do.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import BruteForce, MultiHead, convnet
    >>> from lifelong.transfer import HardTransferLayer, TransferNetwork, every
    >>> body = partial(convnet, (1, 8, 8), [4, 8], [2, 2])
    >>> network = TransferNetwork(body, MultiHead, HardTransferLayer, every)
    >>> method = BruteForce(network, partial(SGD, lr=0.1))
    >>> method.method["configurations"]
    ['11', '01', '10', '00']
    """

    capturable: ClassVar[bool] = True
    divides: ClassVar[bool] = True
    modifies_earlier_tasks = False
    needs_validation = True
    refuses: Mapping[str, str] = {
        **ArchitectureSearch.refuses,
        "optimizer_lifetime": "every candidate begins with a new optimizer; give task",
        "online": "it trains several times on the images of a task",
    }

    def __init__(
        self,
        network: TransferNetwork,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        first_task: Literal["none", "all"] = "none",
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if network.slots > 1:
            raise ValueError(
                f"transfer.slots={network.slots}: brute force tries one shared form of each layer; "
                "leave it out, or give strategy=lasem_hps"
            )
        depth = len(network.transfer_layers())
        self._first = (first_task == "all",) * depth
        if self._first not in network.candidates:
            raise ValueError(
                "transfer: brute force needs configurations to choose from, "
                f"{pattern_code(self._first)} for the first task among them; leave out transfer"
            )
        kinds = {type(layer) for layer in network.transfer_layers()}
        if first_task == "none" and any(k.set_shared is TransferLayer.set_shared for k in kinds):
            raise ValueError(
                "strategy.first_task=none: only hard sharing can express the first task's own "
                "weights later; give strategy.first_task=all"
            )
        self.method |= {"configurations": [pattern_code(config) for config in network.candidates]}
        self._start: dict[str, Any] | None = None  # what every candidate starts from
        self._kept: dict[str, Any] | None = None  # the best candidate so far, after its training

    @staticmethod
    def drawings(results: Results) -> Drawings:
        """See `Strategy.drawings`."""
        from lifelong.strategies.brute_force_figures import drawings

        return ArchitectureSearch.drawings(results) | drawings(results)

    def begin_task(self, visit: Visit) -> None:
        new = visit.task.index not in self.classes
        super().begin_task(visit)
        self._compares = new and len(self.classes) > 1  # unlike `searching`, known in a replay
        if new and len(self.classes) == 1:
            self.network.commit(visit.task.index, self._first)
        elif new and len(self.classes) == 2:
            self.network.reenable_candidates(next(iter(self.classes)))

    def choice(self) -> TransferConfig:
        return self.network.configs[self._task]

    def rounds(self, visit: Visit) -> Rounds:
        if not self._compares:
            yield Round()
            return
        self._start = self._kept = self._state()
        accuracies: list[float] = []
        for candidate in self.network.candidates:
            self._restore(self._start)
            self.network.configs[visit.task.index] = candidate
            metrics = yield Round(pattern_code(candidate))
            accuracies.append(metrics["val/best"])
            if accuracies.index(max(accuracies)) == len(accuracies) - 1:
                self._kept = self._state()
        self._restore(self._kept)
        best = accuracies.index(max(accuracies))
        self.network.configs[visit.task.index] = self.network.candidates[best]
        self.report().update(validation_accuracy=accuracies)
        self._start = self._kept = None
        first = next(iter(self.classes))
        if first in self.network.undecided:
            self.network.set_config(first, self.network.configs[visit.task.index])

    def _state(self) -> dict[str, Any]:
        trained = {
            n: p.detach().clone() for n, p in self.network.named_parameters() if p.requires_grad
        }
        return {"weights": trained, "scheduled": self.scheduled, "best": self.best}

    def _restore(self, state: dict[str, Any]) -> None:
        with torch.no_grad():
            for name, value in state["weights"].items():
                self.network.get_parameter(name).copy_(value)
        self.scheduled, self.best = state["scheduled"], state["best"]

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "start": self._start, "kept": self._kept}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self._start, self._kept = state["start"], state["kept"]
