"""What the methods have in common that choose a configuration of layers for each task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from torch.utils.data import DataLoader

from lifelong.data import Batch, Visit
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Strategy
from lifelong.transfer import TransferConfig, TransferNetwork
from lifelong.transfer.config import pattern_code

if TYPE_CHECKING:
    from lifelong.drawing import Drawings, Results


class ArchitectureSearch(Strategy):
    """Decides for each task which layers it shares; at the end of the task the choice is final.

    While a task is learned it is evaluated under the choice so far. A task that is visited again
    trains on in its configuration.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import ArchitectureSearch, MultiHead, convnet
    >>> from lifelong.transfer import HardTransferLayer, TransferNetwork, every
    >>> body = partial(convnet, (1, 8, 8), [4, 8], [2, 2])
    >>> network = TransferNetwork(body, MultiHead, HardTransferLayer, every)
    >>> class First(ArchitectureSearch):
    ...     def choice(self):
    ...         return self.network.candidates[0]
    >>> from lifelong import by_class
    >>> from lifelong.data.sources import digits
    >>> stream = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=32)
    >>> visit = stream.visits[0]
    >>> method = First(network, partial(SGD, lr=0.1))
    >>> method.begin_task(visit)
    >>> method.end_task(visit, [])
    >>> network.configs[0]
    (True, True)
    """

    modifies_earlier_tasks = True
    searches_architecture: ClassVar[bool] = True
    network: TransferNetwork

    def __init__(
        self, network: TransferNetwork, optimizer: MakeOptimizer, schedule: Schedule = constant
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if network.num_candidates < 2:
            only = pattern_code(network.candidates[0])
            raise ValueError(
                f"transfer: gives {type(self).__name__} one configuration, {only}, so there is "
                "nothing to choose; leave transfer out, or give the strategy that shares by a "
                "fixed pattern, such as strategy=hps"
            )

    def choice(self) -> TransferConfig:
        """The configuration that the current task would take now."""
        raise NotImplementedError

    def report(self) -> dict[str, Any]:
        """What is reported of the current task, to be added to."""
        tasks: dict[str, Any] = self.method.setdefault("tasks", {})
        entry: dict[str, Any] = tasks.setdefault(str(self._task + 1), {})
        return entry

    @staticmethod
    def drawings(results: Results) -> Drawings:
        """See `Strategy.drawings`."""
        from lifelong.strategies.architecture_search_figures import drawings

        return drawings(results)

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        self._task = visit.task.index

    @property
    def searching(self) -> bool:
        """Whether the current task's configuration is still open."""
        return self.network.searching

    def before_answers(self) -> None:
        if self.searching:
            self.network.configs[self._task] = self.choice()

    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        super().end_task(visit, loader)
        if self.searching:
            choice = self.choice()
            self.network.commit(visit.task.index, choice)
            self.report()["chosen"] = pattern_code(choice)
        chosen = list(self.network.configs.values())
        shares = [sum(map(bool, layer)) / len(chosen) for layer in zip(*chosen, strict=True)]
        self.method["transfer_frequency"] = shares  # of each layer, over the tasks so far
