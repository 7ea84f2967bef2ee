"""Hard parameter sharing (HPS): the tasks use the same weights (Caruana 1997)."""

from __future__ import annotations

import torch
from torch import Tensor

from lifelong.backbones import Layer
from lifelong.transfer.layer import TransferLayer


class HardTransferLayer(TransferLayer):
    """S_l holds the weight and bias themselves; there is no mapping."""

    shared_params: Layer

    def make_shared(self) -> Layer:
        return self.template.reinitialized()

    def set_shared(self, weight: Tensor, bias: Tensor) -> None:
        with torch.no_grad():
            self.shared_params.weight.copy_(weight)
            self.shared_params.bias.copy_(bias)

    def shared_weight(self, task: int) -> tuple[Tensor, Tensor]:
        return self.shared_params.weight, self.shared_params.bias
