"""Hard parameter sharing (HPS): the tasks use the same weights (Caruana 1997)."""

from __future__ import annotations

from torch import Tensor

from lifelong.backbones import Unit
from lifelong.transfer.layer import TransferLayer


class HardTransferLayer(TransferLayer):
    """S_l holds the layer, or the block of layers, itself; there is no mapping."""

    shared_params: Unit

    def make_shared(self) -> Unit:
        return self.unit.reinitialized()

    def shared_map(self, x: Tensor, task: int) -> Tensor:
        return self.shared_params.map(x)

    def made_private(self, task: int) -> Unit:
        own = self.unit.reinitialized()
        own.load_state_dict(self.shared_params.state_dict())
        return own

    def set_shared(self, own: Unit) -> None:
        self.shared_params.load_state_dict(own.state_dict())
