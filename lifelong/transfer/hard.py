"""Hard parameter sharing (HPS): the tasks use the same weights (Caruana 1997)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lifelong.backbones import Layer
from lifelong.transfer.layer import TransferLayer


class HardTransferLayer(TransferLayer):
    """S_l holds the weight and bias themselves; there is no mapping."""

    def make_shared(self) -> nn.Module:
        return self.template.reinitialized()

    def set_shared(self, weight: Tensor, bias: Tensor) -> None:
        slot = self.shared_params
        assert isinstance(slot, Layer)
        with torch.no_grad():
            slot.weight.copy_(weight)
            slot.bias.copy_(bias)

    def shared_weight(self, task: int) -> tuple[Tensor, Tensor]:
        slot = self.shared_params
        assert isinstance(slot, Layer)
        return slot.weight, slot.bias
