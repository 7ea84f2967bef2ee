"""What methods have in common that train nothing but weights after the first task."""

from __future__ import annotations

from typing import Any, Self

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import is_parametrized
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from lifelong.backbones.moving import moves
from lifelong.data import Visit
from lifelong.networks import IncrementalHead, Network, SingleHead
from lifelong.optim.schedules import Schedule, constant
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Strategy

NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
LAYERS = (_ConvNd, nn.Linear, nn.Bilinear, nn.MultiheadAttention, nn.RNNBase, nn.RNNCellBase)


class WeightsAlone(Strategy):
    """Biases, normalisation and running statistics of the body are those of the first visit.

    Weights are those of convolutions and linear maps, and matrices of layers of one's own; tokens
    and positions, (1, n, d), are as biases. What of the body is never trained is none.

    Args:
        network: of one body, with a head of its own for each task: nothing here holds a head.
        optimizer: see `Strategy`.
        schedule: see `Strategy`.

    Raises:
        ValueError: a head that tasks have in common, a body of which nothing is trained, or whose
            weights are made of others.
    """

    network: Network

    def __init__(
        self, network: Network, optimizer: MakeOptimizer, schedule: Schedule = constant
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if isinstance(network.heads, SingleHead | IncrementalHead):
            raise ValueError(
                f"heads: {type(self).__name__} keeps what earlier tasks need of the body, and "
                "later tasks would train the head that they have in common; give heads=multi"
            )
        named = network.body.named_parameters()
        self._trained = [name for name, p in named if p.requires_grad]
        modules = dict(network.body.named_modules())
        self._weights = {name for name in self._trained if _is_weight(*_place(name, modules))}
        made = next((name for name, each in modules.items() if _makes_weights(each)), None)
        if made is not None:
            raise ValueError(
                f"backbone: the weight of {made} is made of others in each pass (weight_norm or "
                f"the like), where {type(self).__name__} holds single ones; give a body without"
            )
        if not self.weights():
            raise ValueError(
                f"backbone.fixed=true: leaves {type(self).__name__} no weights to give to tasks; "
                "give another body, or another strategy"
            )

    def weights(self) -> dict[str, nn.Parameter]:
        """Of the body, by their names in the network."""
        named = dict(self.network.body.named_parameters())
        return {f"body.{name}": named[name] for name in self._trained if name in self._weights}

    def begin_task(self, visit: Visit) -> None:
        super().begin_task(visit)
        named = dict(self.network.body.named_parameters())
        for name in self._trained:
            named[name].requires_grad_(name in self._weights or visit.number == 1)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.network.body.modules() if self.visit > 1 else ():
            if moves(module):
                module.eval()
        return self


def _place(name: str, modules: dict[str, nn.Module]) -> tuple[nn.Module, nn.Parameter]:
    """The module that holds a parameter, and it."""
    path, _, last = name.rpartition(".")
    return modules[path], getattr(modules[path], last)


def _is_weight(module: nn.Module, p: nn.Parameter) -> bool:
    if isinstance(module, NORMS) or p.dim() < 2:
        return False
    return isinstance(module, LAYERS) or p.dim() == 2 or len(p) > 1


def _makes_weights(module: nn.Module) -> bool:
    """Whether a weight that is trained is computed from others in each pass."""
    lists: Any = module.parametrizations if is_parametrized(module) else {}
    makers: list[nn.Module] = [part for name, part in lists.items() if "weight" in name]
    hooks = module._forward_pre_hooks.values()
    if any(isinstance(hook, WeightNorm | SpectralNorm) for hook in hooks):
        makers.append(module)
    return any(p.requires_grad for part in makers for p in part.parameters())
