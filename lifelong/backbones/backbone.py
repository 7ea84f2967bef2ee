"""The layer and the stack of layers that every body is made of."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, Literal, Self, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifelong.backbones.blocks import Block, Chain, Fresh, called, cut
from lifelong.backbones.unit import Unit

BIAS = 0.2  # initial bias of plain layers (LASEM's released code)
DEVIATION = 0.05  # of their initial weights, cut at two deviations
Init = Literal["truncated_normal", "uniform", "kaiming"]


class Layer(Unit):
    """One layer that can be shared: a linear map with weight and bias, and what follows it.

    The map can use other weights than the layer's own.

    Args:
        weight_shape: outputs first.
        skip: see below.
        init: how the weights are drawn, see `initialize`.
    """

    weight: nn.Parameter
    bias: nn.Parameter

    def __init__(
        self,
        weight_shape: Iterable[int],
        skip: int | None = None,
        init: Init = "truncated_normal",
    ) -> None:
        super().__init__()
        self.init: Init = init
        sizes = list(weight_shape)
        if min(sizes) < 1:
            raise ValueError(
                f"a layer with weights {sizes}: backbone.channels, backbone.widths, "
                "backbone.kernels and heads.hidden are 1 or more"
            )
        self.weight = nn.Parameter(torch.empty(*sizes))
        self.bias = nn.Parameter(torch.empty(self.weight.shape[0]))
        self.skip = skip
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the weights anew."""
        initialize(self.weight, self.bias, self.init)

    def reinitialized(self) -> Self:
        """A new layer of the same shape with newly drawn weights."""
        twin = copy.deepcopy(self).requires_grad_()
        twin.reset_parameters()
        return twin

    def linear(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The linear map."""
        raise NotImplementedError

    def map(self, x: Tensor) -> Tensor:
        return self.linear(x, self.weight, self.bias)

    def bent(self, z: Tensor, skip: Tensor | None = None) -> Tensor:
        """DARTS's order of things: the skip is added before the ReLU."""
        return F.relu(z if skip is None else z + skip)

    def activate(self, z: Tensor, skip: Tensor | None = None) -> Tensor:
        return self.pooled(F.relu(z) if skip is None else F.relu(z) + skip)

    def forward_with(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """The layer with other weights than its own."""
        return self.activate(self.linear(x, weight, bias))


@torch.no_grad()
def initialize(weight: Tensor, bias: Tensor, init: Init) -> None:
    """Draws the weights of a layer.

    Args:
        weight: (o, i) or (o, i, height, width).
        bias: (o,).
        init: `truncated_normal`: normal(0, 0.05) cut at two deviations, biases 0.2 (LASEM);
            `uniform`: within 1 / sqrt(inputs), as PyTorch draws them; `kaiming`: convolutions
            normal(0, sqrt(2 / (o height width))), linear maps normal(0, 0.01), biases 0 (VGG).

    Raises:
        ValueError: another way.
    """
    if init == "truncated_normal":
        truncated_normal(weight)
        bias.fill_(BIAS)
    elif init == "uniform":
        bound = weight[0].numel() ** -0.5
        nn.init.uniform_(weight, -bound, bound)
        nn.init.uniform_(bias, -bound, bound)
    elif init == "kaiming":
        fan = weight.numel() // weight.shape[1]
        nn.init.normal_(weight, std=(2 / fan) ** 0.5 if weight.dim() > 2 else 0.01)
        bias.zero_()
    else:
        raise ValueError(f"init={init}: give {' or '.join(get_args(Init))}")


def truncated_normal(tensor: Tensor, std: float = DEVIATION) -> None:
    """Fills `tensor` from normal(0, std), drawn again beyond two deviations.

    The values do not depend on the tensor's device or memory layout.
    """
    drawn = nn.init.trunc_normal_(torch.empty(tensor.shape), std=std, a=-2 * std, b=2 * std)
    tensor.copy_(drawn)


class Body(nn.Module):
    """The body of a network: from images to features.

    Attributes:
        features: length of the output of one image.
        frozen: modules whose weights are never trained.
        block_names: modules before which it is cut into blocks; none: they are looked for.
        drawn: whether a body made anew has other weights.
        kept: so many of the first blocks keep their weights.

    >>> import torch
    >>> class Flat(Body):
    ...     features = 64
    ...     def forward(self, x):
    ...         return x.flatten(1)
    >>> Flat()(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 64])
    """

    features: int
    frozen: tuple[nn.Module, ...] = ()
    block_names: tuple[str, ...] = ()
    drawn: bool = True
    kept: int = 0

    def __setattr__(self, name: str, value: Any) -> None:
        if isinstance(value, nn.Module) and (name == "features" or hasattr(Body, name)):
            raise AttributeError(
                f"{type(self).__name__}.{name}: is what a Body itself says under that name; give "
                "the module another name"
            )
        super().__setattr__(name, value)

    def freeze(self) -> None:
        """Keeps the optimizer off what is never trained; after others were made trainable."""
        for module in self.frozen:
            module.requires_grad_(False)

    def as_blocks(self) -> list[nn.Module]:
        """The body as modules that, one after the other, compute what it does: its blocks.

        Raises:
            ValueError: the body is no sequence of blocks.
        """
        return cut(self, self.block_names)

    def first_blocks(self, number: int, option: str = "strategy.blocks") -> list[nn.Module]:
        """The first blocks, or layers.

        Raises:
            ValueError: there are fewer; `option` says how many are asked.
        """
        parts = self.as_blocks() if number else []
        if not 0 <= number <= len(parts):
            raise ValueError(
                f"{option}={number}: the body has {len(parts)} blocks; give 0 to {len(parts)}"
            )
        return parts[:number]

    def prefix(self) -> nn.Module | None:
        """The first blocks, if they keep their weights; None for none."""
        return Chain(self.first_blocks(self.kept)) if self.kept else None

    def units(self, make: Callable[[], Body]) -> list[Unit]:
        """What can be shared part by part, input first; what follows the prefix.

        Args:
            make: makes such bodies, from which new units are taken.

        Raises:
            ValueError: the body is no sequence of parts, or some of them keep their weights.
        """
        fresh = Fresh(make if self.drawn else None)
        own = list(enumerate(self.as_blocks()))[self.kept :]
        if not own:
            raise ValueError(
                f"backbone.freeze={self.kept}: leaves no block that could be shared; give fewer"
            )
        if self.frozen and not self.kept:
            raise ValueError(
                f"backbone: {called(self)} keeps weights within its blocks, which tasks "
                "share or not; leave none frozen"
            )
        return [Block(part, number, fresh) for number, part in own]

    @property
    def layers(self) -> list[Layer]:
        """The layers, input first.

        Raises:
            ValueError: the body is no stack of layers.
        """
        raise ValueError(
            f"backbone: {called(self)} is no stack of layers that can be shared, grown or "
            "gated one by one; give one such as conv4, or another strategy"
        )


class Backbone(Body, nn.Sequential):
    """Layers in the order of the data; the output is flat.

    >>> from lifelong import mlp
    >>> body = mlp((1, 8, 8), [32, 16])
    >>> len(body.layers), body.features
    (2, 16)
    """

    def __init__(self, layers: Iterable[Layer], features: int) -> None:
        nn.Sequential.__init__(self, *layers)
        self.features = features

    @property
    def layers(self) -> list[Layer]:
        return [layer for layer in self if isinstance(layer, Layer)]

    def as_blocks(self) -> list[nn.Module]:
        return list(self)

    def units(self, make: Callable[[], Body]) -> list[Unit]:
        return list(self.layers)

    def forward(self, x: Tensor) -> Tensor:  # (b, c, h, w) -> (b, f)
        outputs: list[Tensor] = []
        for layer in self.layers:
            x = layer(x, None if layer.skip is None else outputs[layer.skip])
            outputs.append(x)
        return flat(x)


def flat(x: Tensor) -> Tensor:
    """(b, c, h, w) to (b, f) in the order row, column, channel: no copy of a channels-last x."""
    return x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x.flatten(1)
