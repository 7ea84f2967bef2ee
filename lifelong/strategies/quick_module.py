"""A LightningModule with short ways where its own cost as much as steps of small networks."""

from __future__ import annotations

from typing import Any, Self

import torch
from lightning import LightningModule


class QuickModule(LightningModule):
    """As it is, but for notes about hooks, and moves from the CPU to the CPU."""

    def __setattr__(self, name: str, value: Any) -> None:
        """As of any module; what Lightning notes before and after each hook goes by a short way."""
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def to(self, *args: Any, **kwargs: Any) -> Self:
        """As of any module; from the CPU, where all is made, to the CPU nothing is gone through."""
        device, dtype, _, layout = torch._C._nn._parse_to(*args, **kwargs)
        moves = device is None or {device.type, self.device.type} != {"cpu"}
        if not moves and dtype is None and layout is None:
            return self
        return super().to(*args, **kwargs)

    def cpu(self) -> Self:
        return self.to("cpu")
