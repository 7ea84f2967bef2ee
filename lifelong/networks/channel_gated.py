"""A body whose output channels each task opens and closes, image by image.

Abati et al., "Conditional Channel Gated Networks for Task-Aware Continual Learning", CVPR 2020, and
the form of it in LASEM's released program (ICML 2021).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.backbones import LinearLayer
from lifelong.backbones.backbone import Layer, flat
from lifelong.backbones.containers import ByName
from lifelong.networks.network import MakeBackbone, MakeHeads, TaskNetwork, count

Variant = Literal["paper", "release"]


class SoftmaxGate(nn.Module):
    """The release's: softmax over the channels of two linear layers on the whole input, sharpened.

    Args:
        inputs: length of the flattened input of the layer.
        channels: outputs of the layer.
        hidden: width of the first linear layer.
        temperature: divides the logits.
    """

    def __init__(
        self, inputs: int, channels: int, hidden: int = 256, temperature: float = 0.1
    ) -> None:
        super().__init__()
        self.first, self.second = LinearLayer(inputs, hidden), LinearLayer(hidden, channels)
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:  # (b, c_in, ...) -> (b, c_out)
        hidden = self.first(flat(x))
        logits = self.second.linear(hidden, self.second.weight, self.second.bias)
        return torch.softmax(logits / self.temperature, 1)


class BinaryGate(nn.Module):
    """The paper's: each channel is open or closed, by the channels' means of the layer's input.

    In training the decision is a straight-through Gumbel sample; otherwise it is logit > 0.

    Args:
        inputs: channels of the layer's input.
        channels: outputs of the layer.
        hidden: width of the first linear layer.
        temperature: of the Gumbel sample.
    """

    def __init__(
        self, inputs: int, channels: int, hidden: int = 16, temperature: float = 2 / 3
    ) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden)
        self.second = nn.Linear(hidden, channels)
        self.temperature = temperature

    def forward(self, x: Tensor) -> Tensor:  # (b, c_in, ...) -> (b, c_out)
        z: Tensor = self.first(x.flatten(2).mean(2) if x.dim() > 2 else x)
        if self.training and len(z) == 1:  # one image has no variance
            z = F.batch_norm(
                z, self.norm.running_mean, self.norm.running_var, self.norm.weight, self.norm.bias
            )
        else:
            z = self.norm(z)
        logits: Tensor = self.second(F.relu(z))
        if not self.training:
            return (logits > 0).to(logits.dtype)
        uniform = torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)
        soft = torch.sigmoid((logits + uniform.logit()) / self.temperature)
        return (soft > 0.5).to(soft.dtype) + (soft - soft.detach())  # exactly 0 or 1


class ChannelGatedNetwork(TaskNetwork):
    """One body, heads, and gates for each task and layer that multiply the layer's outputs.

    Args:
        backbone: makes the body.
        heads: makes the heads for a number of features.
        shape: (c, h, w) of an image.
        variant: the gates of the `paper` or of the `release`.

    Attributes:
        fixed: for each layer the channels (c_out,) whose kernels are fixed; `kept` holds those
            kernels and biases.

    >>> import torch
    >>> from functools import partial
    >>> from lifelong import MultiHead, convnet
    >>> body = partial(convnet, (1, 8, 8), [4, 8], [2, 2])
    >>> network = ChannelGatedNetwork(body, MultiHead, (1, 8, 8))
    >>> network.add_task(0, [0, 1])
    >>> network.logits(torch.zeros(3, 1, 8, 8), 0).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        backbone: MakeBackbone,
        heads: MakeHeads,
        shape: Sequence[int],
        variant: Variant = "release",
    ) -> None:
        super().__init__()
        self.body = backbone()
        self.heads = heads(self.body.features)
        self.disjoint_outputs = self.heads.disjoint_outputs
        self.variant = variant
        self.gates: ByName[nn.ModuleList] = ByName()
        self._inputs = _input_shapes(self.body.layers, shape)
        for number, layer in enumerate(self.body.layers):
            closed = torch.zeros(len(layer.bias), dtype=torch.bool)
            self.register_buffer(f"fixed_{number}", closed)
            self.register_buffer(f"kept_weight_{number}", layer.weight.detach().clone())
            self.register_buffer(f"kept_bias_{number}", layer.bias.detach().clone())

    def add_task(self, task: int, classes: Sequence[int]) -> None:
        key = str(task)
        if key not in self.gates:
            self.gates[key] = nn.ModuleList(
                self._gate(shape, len(layer.bias))
                for shape, layer in zip(self._inputs, self.body.layers, strict=True)
            )
        for other, gates in self.gates.items():
            gates.requires_grad_(other == key)
        self.heads.requires_grad_(False)
        self.heads.add_task(task, classes)
        self.heads.head_for(task).requires_grad_()

    def _gate(self, shape: Sequence[int], channels: int) -> nn.Module:
        if self.variant == "paper":
            return BinaryGate(shape[0], channels)
        return SoftmaxGate(int(torch.tensor(shape).prod()), channels)

    def logits(self, x: Tensor, task: int) -> Tensor:
        scores, _ = self.gated(x, task)
        return scores

    def gated(self, x: Tensor, task: int) -> tuple[Tensor, list[Tensor]]:
        """Class scores (b, k), and the gates (b, c_out) of each layer."""
        outputs: list[Tensor] = []
        opened: list[Tensor] = []
        gates = self.gates[str(task)]
        for number, (layer, gate) in enumerate(zip(self.body.layers, gates, strict=True)):
            skip = None if layer.skip is None else outputs[layer.skip]
            g = gate(x)  # (b, c_out)
            h = layer.activate(layer.linear(x, *self.weight(number)), skip)
            x = h * g.view(*g.shape, *[1] * (h.dim() - 2))
            outputs.append(x)
            opened.append(g)
        return self.heads(flat(x), task), opened

    def weight(self, number: int) -> tuple[Tensor, Tensor]:
        """Weight and bias of a layer, the fixed kernels as they were kept."""
        layer = self.body.layers[number]
        if self.variant == "release":
            return layer.weight, layer.bias
        fixed = self.get_buffer(f"fixed_{number}")
        rows = fixed.view(-1, *[1] * (layer.weight.dim() - 1))
        weight = torch.where(rows, self.get_buffer(f"kept_weight_{number}"), layer.weight)
        return weight, torch.where(fixed, self.get_buffer(f"kept_bias_{number}"), layer.bias)

    @torch.no_grad()
    def fix(self, number: int, channels: Tensor) -> None:
        """Fixes more kernels of a layer, (c_out,) of bool, and draws those that are free anew."""
        layer, fixed = self.body.layers[number], self.get_buffer(f"fixed_{number}")
        new = channels & ~fixed
        for name, own in (("weight", layer.weight), ("bias", layer.bias)):
            self.get_buffer(f"kept_{name}_{number}")[new] = own[new]
        fixed |= channels
        drawn = layer.reinitialized()
        layer.weight[~fixed] = drawn.weight[~fixed]
        layer.bias[~fixed] = drawn.bias[~fixed]

    def single_size(self, task: int) -> int:
        return count(self.body, self.heads.head_for(task))


@torch.no_grad()
def _input_shapes(layers: Sequence[Layer], shape: Sequence[int]) -> list[tuple[int, ...]]:
    """Shape of the input of each layer, without the batch."""
    x, outputs = torch.zeros(1, *shape), list[Tensor]()
    shapes = []
    for layer in layers:
        shapes.append(tuple(x.shape[1:]))
        x = layer(x, None if layer.skip is None else outputs[layer.skip])
        outputs.append(x)
    return shapes
