"""What the weights that are left become when a network was pruned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from lifelong.backbones.backbone import initialize
from lifelong.parts.anchor import Named

To = Literal["zero", "late", "best", "rand", "none"]


class Rewind:
    """Puts convolutions back to earlier weights.

    Args:
        to: `zero`, as at the very first; `late`, as after the first `epoch` epochs of the first
            task (Frankle et al. 2019); `best`, as in the best epoch of the task; `rand`, drawn
            anew; `none`, as they are.
        epoch: see `late`.

    Attributes:
        late: the weights after `epoch`; a checkpoint has to hold them.

    Raises:
        ValueError: an epoch below 1.
    """

    def __init__(self, to: To, epoch: int) -> None:
        if epoch < 1:
            raise ValueError(f"strategy.rewind_epoch={epoch}: give 1 or more")
        self.to, self.epoch = to, epoch
        self.late: dict[str, Tensor] = {}

    def after_epoch(self, epoch: int, named: Named) -> None:
        """Has to be told of each epoch of the first task."""
        if self.to == "late" and epoch == self.epoch:
            self.late = {name: p.detach().clone() for name, p in named.items()}

    @torch.no_grad()
    def __call__(
        self, named: Named, first: Mapping[str, Tensor], best: Mapping[str, Tensor]
    ) -> None:
        """Rewinds weights in place.

        Args:
            named: the convolutions.
            first: their very first values.
            best: those of the best epoch of the task.

        Raises:
            ValueError: the first task had fewer than `epoch` epochs.
        """
        if self.to == "late" and not self.late:
            raise ValueError(
                f"strategy.rewind_epoch={self.epoch}: the first task was learned in fewer epochs; "
                "give one of them"
            )
        earlier = {"zero": first, "late": self.late, "best": best}
        for name, p in named.items():
            if self.to in earlier:
                p.copy_(earlier[self.to][name])
            elif self.to == "rand":
                fresh = torch.empty(p.shape)  # on the CPU, so that all devices draw the same
                initialize(fresh, torch.empty(len(p)), "uniform")
                p.copy_(fresh)
