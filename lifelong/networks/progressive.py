"""Progressive neural networks: a new column for every task, fed by the frozen earlier ones.

Rusu et al., "Progressive Neural Networks", 2016, in the form that LASEM's released program (ICML
2021) gives it: lateral links enter every layer of the body but the first, none the head.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.backbones.backbone import BIAS, Layer, flat, truncated_normal
from lifelong.backbones.containers import ByName, ByNumber
from lifelong.networks.divided import spread
from lifelong.networks.network import (
    MakeBackbone,
    MakeHeads,
    Network,
    TaskNetwork,
    count,
)


class Lateral(nn.Module):
    """What a layer receives from the layer below it in the earlier columns.

    z += sum over columns j of map(relu(A_j (a_j h_j) + b_j), U_j), with a scalar a_j, a 1 x 1
    reduction A_j to n channels, and a map U_j of the layer's own kind without bias.

    Args:
        layer: the layer that receives.
        columns: number of earlier columns J.
        reduction: rho: n = c_in / (rho (J + 1)), rounded down, at least 1.

    Attributes:
        scale: a (J,).
        reduce: A (J, n, c_in); offset: b (J, n).
        weight: all U_j side by side, (c_out, J n, ...).
    """

    def __init__(self, layer: Layer, columns: int, reduction: int) -> None:
        super().__init__()
        outputs, inputs, *kernel = layer.weight.shape
        width = max(inputs // (reduction * (columns + 1)), 1)
        self.scale = nn.Parameter(torch.empty(columns))
        self.reduce = nn.Parameter(torch.empty(columns, width, inputs))
        self.offset = nn.Parameter(torch.full((columns, width), BIAS))
        weight = torch.empty(outputs, columns * width, *kernel)
        if weight.dim() == 4:
            weight = weight.contiguous(memory_format=torch.channels_last)
        self.weight = nn.Parameter(weight)
        with torch.no_grad():
            for drawn in (self.scale, self.reduce, self.weight):
                truncated_normal(drawn)

    def forward(self, below: list[Tensor]) -> Tensor:
        """Reduced inputs (b, J n, ...) from the outputs of the layer below in each column."""
        return torch.cat([self._reduced(j, h) for j, h in enumerate(below)], 1)

    def _reduced(self, j: int, h: Tensor) -> Tensor:
        matrix = self.scale[j] * self.reduce[j]  # (n, c_in)
        if h.dim() == 2:
            return F.relu(F.linear(h, matrix, self.offset[j]))
        return F.relu(F.conv2d(h, matrix[:, :, None, None], self.offset[j]))


class ProgressiveNetwork(TaskNetwork):
    """Columns: the body, the head and the lateral links of each task; earlier ones are frozen.

    Args:
        backbone: makes a body.
        heads: makes heads for a number of features.
        reduction: rho, 1 or more: how narrow the lateral links are, see `Lateral`.

    >>> from functools import partial
    >>> from lifelong import MultiHead, mlp
    >>> network = ProgressiveNetwork(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> for task in range(2):
    ...     network.add_task(task, [0, 1])
    >>> list(network.columns)
    ['0', '1']
    """

    def __init__(self, backbone: MakeBackbone, heads: MakeHeads, reduction: int = 1) -> None:
        super().__init__()
        if reduction < 1:
            raise ValueError(f"strategy.network.reduction={reduction}: give 1 or more")
        self.backbone, self.heads, self.reduction = backbone, heads, reduction
        self.columns: ByName[Network] = ByName()
        self.laterals: ByName[ByNumber[Lateral]] = ByName()

    def add_task(self, task: int, classes: Sequence[int]) -> None:
        key = str(task)
        if key not in self.columns:
            earlier = len(self.columns)
            column = Network(self.backbone, self.heads)
            column.add_task(task, classes)
            links = [Lateral(layer, earlier, self.reduction) for layer in column.body.layers[1:]]
            self.columns[key] = column
            self.laterals[key] = ByNumber(links if earlier else [])
        for store in (self.columns, self.laterals):
            for other, part in store.items():
                part.requires_grad_(other == key)

    def column(self, task: int) -> Network:
        return self.columns[str(task)]

    def logits(self, x: Tensor, task: int) -> Tensor:
        return spread(lambda part: self._logits(part, task), x)

    def _logits(self, x: Tensor, task: int) -> Tensor:
        learned = [int(key) for key in self.columns]  # in the order of their first visits
        earlier = learned[: learned.index(task)]
        outputs: list[list[Tensor]] = []  # of each column, layer by layer
        with torch.no_grad():
            for other in earlier:
                outputs.append(self._outputs(x, other, outputs))
        own = self._outputs(x, task, outputs)
        scores: Tensor = self.column(task).heads(flat(own[-1]), task)
        return scores

    def _outputs(self, x: Tensor, task: int, earlier: list[list[Tensor]]) -> list[Tensor]:
        """Outputs of the layers of a column, given those of the columns before it."""
        outputs: list[Tensor] = []
        links = self.laterals[str(task)]
        for number, layer in enumerate(self.column(task).body.layers):
            skip = None if layer.skip is None else outputs[layer.skip]
            if number == 0 or not earlier:
                z = layer.linear(x, layer.weight, layer.bias)
            else:
                link = links[number - 1]
                side = link([column[number - 1] for column in earlier])
                # One map for the layer's own input and the reduced ones.
                joined = torch.cat([layer.weight, link.weight], 1)
                z = layer.linear(torch.cat([x, side], 1), joined, layer.bias)
            x = layer.activate(z, skip)
            outputs.append(x)
        return outputs

    def single_size(self, task: int) -> int:
        return count(self.column(task))
