"""A body whose layers gain units; a task sees those that were there in its time (DEN)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.backbones.backbone import BIAS, truncated_normal
from lifelong.backbones.containers import ByName
from lifelong.networks.divided import spread
from lifelong.networks.heads import IncrementalHead
from lifelong.networks.network import MakeBackbone, MakeHeads, TaskNetwork, count


class Growing(nn.Module):
    """Weight and bias of a layer that can gain and lose units.

    Attributes:
        weight: (units, units below, ...): what follows the first two dimensions belongs to a pair
            of units: a kernel, or the pixels of a channel below a linear layer.
        bias: (units,).
    """

    weight: nn.Parameter
    bias: nn.Parameter

    def __init__(self, units: int, below: int, rest: Sequence[int] = ()) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(0, 0, *rest))
        self.bias = nn.Parameter(torch.empty(0))
        self.resize(units, below)

    @torch.no_grad()
    def resize(self, units: int, below: int) -> None:
        """Keeps what fits, and draws the rest as in `Layer`."""
        old, bias = self.weight, self.bias
        weight = torch.empty(units, below, *old.shape[2:])
        truncated_normal(weight)
        weight = weight.to(old.device, old.dtype)
        rows, columns = min(units, old.shape[0]), min(below, old.shape[1])
        weight[:rows, :columns] = old[:rows, :columns]
        offset = bias.new_full((units,), BIAS)
        offset[:rows] = bias[:rows]
        self._set(weight, offset)

    @torch.no_grad()
    def drop(self, units: Tensor | None = None, below: Tensor | None = None) -> None:
        """Removes the marked units, or units below, given as bool over all of them."""
        if units is not None:
            self._set(self.weight[~units], self.bias[~units])
        if below is not None:
            self._set(self.weight[:, ~below], self.bias)

    def _set(self, weight: Tensor, bias: Tensor) -> None:
        wanted = self.weight.requires_grad
        if weight.dim() == 4:
            weight = weight.contiguous(memory_format=torch.channels_last)
        self.weight = nn.Parameter(weight, requires_grad=wanted)
        self.bias = nn.Parameter(bias.detach().clone(), requires_grad=wanted)


class ExpandableNetwork(TaskNetwork):
    """Layers that grow; a task is answered by the units that there were when it was learned.

    Args:
        backbone: makes the body, without skips.
        heads: makes heads of a task; their hidden layers are shared here, and grow too.

    Attributes:
        stamps: widths of the layers when a task was learned, by task.

    >>> from functools import partial
    >>> from lifelong import MultiHead, mlp
    >>> network = ExpandableNetwork(partial(mlp, (1, 8, 8), [16, 8]), MultiHead)
    >>> network.add_task(0, [0, 1])
    >>> network.grow(0, [2, 1])
    >>> network.widths
    [18, 9]
    """

    def __init__(
        self,
        backbone: MakeBackbone,
        heads: MakeHeads,
    ) -> None:
        super().__init__()
        body = backbone()
        model = heads(body.features)
        if not model.disjoint_outputs or isinstance(model, IncrementalHead):
            raise ValueError("heads: this network has outputs for each task; give heads=multi")
        if model.init != "truncated_normal":
            raise ValueError(
                f"heads.init={model.init}: DEN draws new units by truncated_normal; give that"
            )
        if any(layer.skip is not None for layer in body.layers):
            raise ValueError(
                "backbone: has skips, whose channel counts must agree; DEN cannot grow it"
            )
        self._body = (body,)  # in a tuple: its weights are not used, only its maps and pools
        self.dropout = nn.Dropout(model.dropout)
        layers: list[Growing] = []
        for layer in body.layers:
            units, below, *rest = layer.weight.shape
            layers.append(Growing(units, below, rest))
        channels = len(body.layers[-1].bias)
        pixels, below = body.features // channels, channels
        for width in model.hidden:
            layers.append(Growing(width, below, (pixels,) if pixels > 1 else ()))
            pixels, below = 1, width
        self._pixels = pixels  # of a unit of the last layer
        self.layers = nn.ModuleList(layers)
        self.heads: ByName[Growing] = ByName()
        self.stamps: dict[int, list[int]] = {}
        self._first = count(self.layers)

    def growing(self) -> list[Growing]:
        return [layer for layer in self.layers if isinstance(layer, Growing)]

    def head(self, task: int) -> Growing:
        return self.heads[str(task)]

    @property
    def widths(self) -> list[int]:
        """Units of each layer now."""
        return [len(layer.bias) for layer in self.growing()]

    def add_task(self, task: int, classes: Sequence[int]) -> None:
        if str(task) not in self.heads:
            rest = (self._pixels,) if self._pixels > 1 else ()
            self.heads[str(task)] = Growing(len(classes), self.widths[-1], rest)
        for key, head in self.heads.items():
            head.requires_grad_(key == str(task))

    def grow(self, task: int, units: Sequence[int]) -> None:
        """Adds so many units to each layer, newly drawn, and links `task`'s head to them."""
        below = self.growing()[0].weight.shape[1]
        for layer, more in zip(self.growing(), units, strict=True):
            layer.resize(len(layer.bias) + more, below)
            below = len(layer.bias)
        head = self.head(task)
        head.resize(len(head.bias), below)

    @torch.no_grad()
    def split(
        self, task: int, units: Sequence[Tensor], old: Sequence[tuple[Tensor, Tensor]]
    ) -> None:
        """Doubles units: those that were there go back, their copies are as these are now.

        A copy has the bias of its unit and what goes out of it, too.

        Args:
            task: whose head is linked to the copies.
            units: of each layer the numbers of those that are doubled.
            old: of each layer weight and bias to go back to.
        """
        now = self.widths
        self.grow(task, [len(rows) for rows in units])
        layers = [*self.growing(), self.head(task)]
        for number, rows in enumerate(units):
            layer, (weight, bias) = layers[number], old[number]
            layer.weight[now[number] :] = layer.weight[rows]
            layer.bias[now[number] :] = layer.bias[rows]
            layer.weight[rows, : weight.shape[1]] = weight[rows]
            layer.bias[rows] = bias[rows]
            following = layers[number + 1]
            following.weight[:, now[number] :] = following.weight[:, rows]

    def drop(self, task: int, units: Sequence[Tensor]) -> None:
        """Removes the marked units of each layer, bool over all of them."""
        above: list[Growing] = [*self.growing()[1:], self.head(task)]
        for layer, following, gone in zip(self.growing(), above, units, strict=True):
            layer.drop(units=gone)
            following.drop(below=gone)

    def logits(self, x: Tensor, task: int) -> Tensor:
        return spread(lambda part: self._logits(part, task), x)

    def _logits(self, x: Tensor, task: int) -> Tensor:
        widths = self.stamps.get(task, self.widths)
        body, below = self._body[0].layers, None
        for number, (layer, width) in enumerate(zip(self.growing(), widths, strict=True)):
            weight, bias = layer.weight[:width], layer.bias[:width]
            if below is not None:
                weight = weight[:, :below]
            if number < len(body):
                x = body[number].forward_with(x, weight, bias)
            else:
                x = self.dropout(x) if number == len(body) else x
                x = F.relu(F.linear(x.flatten(1), weight.flatten(1), bias))
            below = width
        x = self.dropout(x) if len(widths) == len(body) else x
        head = self.head(task)
        return F.linear(x.flatten(1), head.weight.flatten(1), head.bias)

    def single_size(self, task: int) -> int:
        return self._first + count(self.head(task))

    def get_extra_state(self) -> dict[str, Any]:
        return {
            "stamps": self.stamps,
            "shapes": [list(layer.weight.shape[:2]) for layer in self.growing()],
            "heads": {key: list(self.head(int(key)).weight.shape[:2]) for key in self.heads},
        }

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.stamps = state["stamps"]
        for layer, shape in zip(self.growing(), state["shapes"], strict=True):
            layer.resize(*shape)
        for key, shape in state["heads"].items():
            self.head(int(key)).resize(*shape)
