"""The network of Lifelong Tickets' released program, after the specification alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

ORDER = (9, 8, 7, 1, 5, 0, 3, 4, 6, 2)
MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
WIDTH = 8
COUNTS = {"train": 6, "val": 2, "test": 30}


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        a = F.relu(self.bn1(x))
        kept = x if isinstance(self.shortcut, nn.Identity) else self.shortcut(a)
        out: Tensor = kept + self.conv2(F.relu(self.bn2(self.conv1(a))))
        return out


class Released(nn.Module):
    """Pre-activation ResNet-18 with five heads of two classes in each branch."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, WIDTH, 3, 1, 1, bias=False)
        inputs = WIDTH
        for stage in range(4):
            outputs = WIDTH * 2**stage
            first = Block(inputs, outputs, 1 if stage == 0 else 2)
            setattr(self, f"layer{stage + 1}", nn.Sequential(first, Block(outputs, outputs, 1)))
            inputs = outputs
        self.linear_main = nn.ModuleList([nn.Linear(inputs, 2) for _ in range(5)])
        self.linear = nn.ModuleList([nn.Linear(inputs, 2) for _ in range(5)])

    def forward(self, x: Tensor, heads: int) -> Tensor:
        h = self.conv1(x)
        for stage in range(4):
            h = getattr(self, f"layer{stage + 1}")(h)
        features = h.mean((2, 3))
        return torch.cat([self.linear_main[head](features) for head in range(heads)], 1)

    def convolutions(self) -> list[tuple[nn.Module, str]]:
        return [(m, "weight") for m in self.modules() if isinstance(m, nn.Conv2d)]


def normalised(pixels: NDArray[np.uint8]) -> Tensor:
    """(n, h, w, c) of 0 to 255 as the program serves it."""
    x = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()).float() / 255
    mean, deviation = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
    return (x - mean) / deviation


def masks_of(network: Released, path: Path) -> None:
    """A file `mask-N.pt`: the masks alone."""
    state = network.state_dict()
    torch.save({name: value for name, value in state.items() if "mask" in name}, path)
