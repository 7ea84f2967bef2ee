"""Continual backpropagation (CBP): units that contribute least begin anew, a few at a time.

Dohare, Hernandez-Garcia, Lan, Rahman, Mahmood, Sutton, "Loss of Plasticity in Deep Continual
Learning", Nature 632, 2024, algorithm 1. With `fidelity=authors` as in its official implementation
the mean output of a unit that goes is added to the biases above.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lifelong.backbones.backbone import Layer
from lifelong.data import Batch, Visit
from lifelong.networks import Network
from lifelong.networks.divided import summed
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.stack import Fed, fed_by, plain_layers
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.strategy import Strategy


class CBP(Strategy):
    """Fine-tuning, and after each step the least useful units of a layer are replaced.

    The utility of a unit is a running mean of |h| sum |w|, its output and the weights that it
    feeds. A new unit draws its weights as they were drawn at first, and feeds nothing yet.

    Args:
        network: of one body, a stack of layers without shortcuts.
        optimizer: see `Strategy`; its state of what begins anew begins anew, too.
        schedule: see `Strategy`.
        replace: rho, share of a layer's mature units that is replaced in a step.
        maturity: m, steps after which a unit may be replaced.
        decay: eta, of the running mean.
        fidelity: `clean` or `authors`, see above.

    Raises:
        ValueError: a value out of range, a body that is no such stack.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import CBP, MultiHead, Network, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> [len(utility) for utility in CBP(network, partial(SGD, lr=0.1)).utilities()]
    [16]
    """

    steps_own_heads: ClassVar[bool] = True
    divides: ClassVar[bool] = True
    network: Network
    due: Tensor  # units of each layer that are to be replaced, fractions included
    refuses: Mapping[str, str] = {
        **Strategy.refuses,
        "compile": "it looks into the body in each step",
        "half_precision": "running means need more digits; give bf16-mixed",
    }

    def __init__(
        self,
        network: Network,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        replace: float = 1e-4,
        maturity: int = 100,
        decay: float = 0.99,
        fidelity: Literal["clean", "authors"] = "clean",
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if not 0 <= replace <= 1 or maturity < 0 or not 0 <= decay < 1:
            raise ValueError(
                f"strategy.replace={replace} is a share from 0 to 1, strategy.maturity={maturity} "
                f"0 or more, strategy.decay={decay} from 0 to below 1"
            )
        self.layers = plain_layers(network, "cbp")
        self.replace, self.maturity, self.decay = replace, maturity, decay
        self.authors = fidelity == "authors"
        for number, layer in enumerate(self.layers.values()):
            for name in ("utility", "mean", "age"):  # running means of |h| sum |w| and of h; steps
                self.register_buffer(f"{name}_{number}", torch.zeros(len(layer.bias)))
        self.register_buffer("due", torch.zeros(len(self.layers)))
        self.method |= {"fidelity": fidelity, "replaced": {}}
        self._seen: list[tuple[Tensor, Tensor]] = []  # means of |h| and h of each layer
        self._above: list[list[Fed]] = []  # what each layer feeds, of what is trained

    def utilities(self) -> list[Tensor]:
        """Of the units of each layer, without the bias of their begin."""
        return [self._unbiased("utility", number) for number in range(len(self.layers))]

    def _unbiased(self, name: str, number: int) -> Tensor:
        steps = self.get_buffer(f"age_{number}")
        share = (1 - self.decay**steps).clamp(min=1e-12)
        return self.get_buffer(f"{name}_{number}") / share

    def training_loss(self, batch: Batch) -> Tensor:
        with self._watched() as sums:
            loss = super().training_loss(batch)
        self.note(partial(setattr, self, "_seen", _means(sums)))
        return loss

    @contextmanager
    def _watched(self) -> Iterator[list[Tensor]]:
        """Sums of |h| and h of each unit, and how many values they are of, (3, units) a layer."""
        sums: list[Tensor] = []

        def see(module: Any, given: Any, h: Tensor) -> None:
            over = [0, *range(2, h.dim())]
            h = h.detach().to(module.weight.dtype)
            many = h.new_full((h.shape[1],), h.numel() / h.shape[1])
            sums.append(torch.stack([h.abs().sum(over), h.sum(over), many]))

        handles = [layer.register_forward_hook(see) for layer in self.layers.values()]
        try:
            yield sums
        finally:
            for handle in handles:
                handle.remove()

    def on_train_start(self) -> None:
        self._above = []

    @torch.no_grad()
    def after_step(self) -> None:
        layers = list(self.layers.values())
        if not self._above:  # what a round trains stays the same
            self._above = [
                [fed for fed in fed_by(self.network, layer) if fed.weight.grad is not None]
                for layer in layers
            ]
        mature = []
        for number, (size, mean) in enumerate(self._seen):
            age = self.get_buffer(f"age_{number}").add_(1)
            fed = self._fed(layers[number], self._above[number])
            self.get_buffer(f"utility_{number}").lerp_(size * fed, 1 - self.decay)
            self.get_buffer(f"mean_{number}").lerp_(mean, 1 - self.decay)
            mature.append(age > self.maturity)
        self.due += self.replace * torch.stack([each.sum() for each in mature])
        wanted = self.due.floor()
        self.due -= wanted
        for number, count in enumerate(wanted.int().tolist()):  # one wait for the device
            if count:
                worth = self._unbiased("utility", number).masked_fill(~mature[number], torch.inf)
                self._renew(number, layers[number], worth.argsort(stable=True)[:count])

    def _fed(self, layer: Layer, above: list[Fed]) -> Tensor:
        """Sum of the sizes of the weights that each unit feeds, (units,)."""
        units = len(layer.bias)
        parts = [fed.by_unit(fed.weight, units).abs().sum((0, 2)) for fed in above]
        return torch.stack(parts).sum(0) if parts else torch.zeros_like(layer.bias)

    def _renew(self, number: int, layer: Layer, units: Tensor) -> None:
        """Draws some units of a layer anew; they feed nothing."""
        fresh, all_units = layer.reinitialized(), len(layer.bias)
        for p, drawn in ((layer.weight, fresh.weight), (layer.bias, fresh.bias)):
            p[units] = drawn[units].to(p)
            for state, start in self._states(p):
                state[units] = start
        for fed in fed_by(self.network, layer):
            lost = fed.by_unit(fed.weight, all_units)[:, units]  # (o, n, entries)
            if self.authors and fed.bias is not None:
                fed.bias.add_(lost.sum(2) @ self._unbiased("mean", number)[units])
            fed.by_unit(fed.weight, all_units)[:, units] = 0.0
            for state, start in self._states(fed.weight):
                fed.by_unit(state, all_units)[:, units] = start
        for name in ("utility", "mean", "age"):
            self.get_buffer(f"{name}_{number}")[units] = 0.0
        if self.held is not None:
            self.held()
        counts = self.method["replaced"]
        counts[str(self.visit)] = counts.get(str(self.visit), 0) + len(units)

    def _states(self, p: nn.Parameter) -> Iterator[tuple[Tensor, float]]:
        """What the optimizer has of each entry of a parameter, and where it begins."""
        given = self.optimizer.defaults
        for name, value in self.optimizer.state.get(p, {}).items():
            if isinstance(value, Tensor) and value.shape == p.shape:
                start = {"square": "initial", "sum": "initial_accumulator_value"}.get(name, "")
                yield value, float(given.get(start, 0.0))

    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        super().end_task(visit, loader)
        self._seen = []


def _means(sums: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Means of |h| and h over the batch, whatever part of it each process has seen."""
    return [(size / many, mean / many) for size, mean, many in summed(sums)]
