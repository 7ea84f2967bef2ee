"""A method with rounds and feedback, for tests: trains, removes small weights, trains on."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lifelong.data import Batch, Task
from lifelong.strategies import Round, Strategy
from lifelong.strategies.strategy import Rounds


class Pruning(Strategy):
    """Between rounds, zeroes the smaller half of each layer of the body."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for number, layer in enumerate(self.network.body.layers):
            self.register_buffer(f"mask_{number}", torch.ones_like(layer.weight))
        self.method = {"losses": []}

    def rounds(self, visit: Task) -> Rounds:
        for number in range(3):
            metrics = yield Round(f"round {number}", epochs=3 + number)
            self.method["losses"].append(metrics["train/loss"])
            for index, layer in enumerate(self.network.body.layers):
                mask = self.get_buffer(f"mask_{index}")
                mask.copy_(layer.weight.detach().abs() > layer.weight.detach().abs().median())
                layer.weight.data.mul_(mask)

    def training_loss(self, batch: Batch) -> Tensor:
        return super().training_loss(batch) + 1e-3 * torch.rand(())
