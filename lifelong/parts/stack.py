"""Bodies that are stacks of layers, unit by unit: what a layer's units feed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from lifelong.backbones.backbone import Layer
from lifelong.networks import Network
from lifelong.networks.heads import Heads


def plain_layers(network: Network, method: str) -> dict[str, Layer]:
    """The layers of a body by their names in the network, input first.

    Raises:
        ValueError: no stack of layers, or one with shortcuts, which `method` cannot use.
    """
    layers = network.body.layers
    if any(layer.skip is not None for layer in layers):
        raise ValueError(
            f"backbone: strategy={method} counts on what a unit feeds, and shortcuts pass by; give "
            "a body without, such as conv4"
        )
    named = network.body.named_modules()
    return {f"body.{name}": module for name, module in named if isinstance(module, Layer)}


@dataclass(frozen=True)
class Fed:
    """A map that is fed by the units of a layer.

    Attributes:
        weight: of the map.
        bias: of the map.
        order: how the second dimension counts: `units` first, or `places` of each image first.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    order: str

    def by_unit(self, values: Tensor, units: int) -> Tensor:
        """A view of values in the shape of the weight, as (o, units, entries)."""
        values = values.detach()
        if values.dim() == 4:  # of a convolution, whose memory may be in another order
            return values.flatten(2)
        if self.order == "units":
            return values.view(len(values), units, -1)
        return values.view(len(values), -1, units).transpose(1, 2)


def fed_by(network: Network, layer: Layer) -> list[Fed]:
    """What the units of a layer feed: the next layer, or the first maps of the heads."""
    layers = network.body.layers
    number = next(place for place, own in enumerate(layers) if own is layer)
    if number + 1 < len(layers):
        above = layers[number + 1]
        return [Fed(above.weight, above.bias, "units")]
    order = "places" if layer.weight.dim() == 4 else "units"  # see `lifelong.backbones.flat`
    return [Fed(weight, bias, order) for weight, bias in _first_maps(network.heads)]


def _first_maps(heads: Heads) -> Iterator[tuple[nn.Parameter, nn.Parameter | None]]:
    """Weights and biases that are given the features; hidden layers stand in sequences."""
    for module in heads.modules():
        parts = list(module.children()) if isinstance(module, nn.Sequential) else [module]
        if isinstance(module, nn.Sequential) == bool(heads.hidden):
            maps = [part for part in parts if hasattr(part, "weight")]
            for part in maps[:1]:
                weight, bias = (getattr(part, name, None) for name in ("weight", "bias"))
                if isinstance(weight, nn.Parameter):
                    yield weight, bias
