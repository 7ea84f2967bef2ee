"""What methods have in common that train nothing but weights after the first task."""

from __future__ import annotations

from typing import Self

from torch import nn

from lifelong.data import Visit
from lifelong.networks import Network
from lifelong.strategies.strategy import Strategy


class WeightsAlone(Strategy):
    """Biases, normalisation and running statistics of the body are those of the first visit.

    Weights are those of convolutions and linear maps.
    """

    network: Network

    def weights(self) -> dict[str, nn.Parameter]:
        """Of the body, by their names in the network."""
        named = self.network.body.named_parameters()
        return {f"body.{name}": p for name, p in named if p.dim() > 1}

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        for p in self.network.body.parameters():
            p.requires_grad_(p.dim() > 1 or visit.number == 1)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.network.body.modules() if self.visit > 1 else ():
            if isinstance(module, nn.modules.batchnorm._NormBase):
                module.eval()
        return self
