"""What methods have in common that train nothing but weights after the first task."""

from __future__ import annotations

from typing import Self

from torch import nn

from lifelong.backbones.moving import moves
from lifelong.data import Visit
from lifelong.networks import IncrementalHead, Network, SingleHead
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Strategy


class WeightsAlone(Strategy):
    """Biases, normalisation and running statistics of the body are those of the first visit.

    Weights are those of convolutions and linear maps, but for what of the body is never trained.

    Args:
        network: of one body, with a head of its own for each task: nothing here holds a head.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.

    Raises:
        ValueError: a head that tasks have in common, a body of which nothing is trained.
    """

    network: Network

    def __init__(
        self, network: Network, optimizer: MakeOptimizer, schedule: Schedule = constant
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if isinstance(network.heads, SingleHead | IncrementalHead):
            raise ValueError(
                f"heads: {type(self).__name__} keeps what earlier tasks need of the body, and "
                "later tasks would train the head that they have in common; give heads=multi"
            )
        named = network.body.named_parameters()
        self._trained = [name for name, p in named if p.requires_grad]
        if not self.weights():
            raise ValueError(
                f"backbone.fixed=true: leaves {type(self).__name__} no weights to give to tasks; "
                "give another body, or another strategy"
            )

    def weights(self) -> dict[str, nn.Parameter]:
        """Of the body, by their names in the network."""
        named = dict(self.network.body.named_parameters())
        return {f"body.{name}": named[name] for name in self._trained if named[name].dim() > 1}

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        named = dict(self.network.body.named_parameters())
        for name in self._trained:
            named[name].requires_grad_(named[name].dim() > 1 or visit.number == 1)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.network.body.modules() if self.visit > 1 else ():
            if moves(module):
                module.eval()
        return self
