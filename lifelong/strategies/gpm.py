"""Gradient projection memory (GPM): steps leave the answers to old inputs of a layer as they are.

Saha, Garg, Roy, "Gradient Projection Memory for Continual Learning", ICLR 2021, algorithm 1. As in
its official implementation nothing but weights learns after the first task.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from lifelong.data import Batch, Visit
from lifelong.data.seeds import derive
from lifelong.networks import Network
from lifelong.optim.schedules import Schedule, constant
from lifelong.parts.layer_calls import LayerTracer, windows
from lifelong.strategies.learner import MakeOptimizer
from lifelong.strategies.weights_alone import WeightsAlone


class GPM(WeightsAlone):
    """Gradients of the body's weights lose their part in the span of earlier tasks' inputs.

    After a task each layer's inputs (patches, of a convolution) of some images are decomposed, and
    the directions are kept without which less than `threshold` of their squared norm would be in
    the span. A weight that anything but linear maps and convolutions of one group uses learns in
    the first visit alone, as biases do: `method.fixed_after_first` names those.

    Args:
        network: of one body.
        optimizer: see `Strategy`; a rule without decay or division, such as SGD, keeps to the span.
        schedule: see `Strategy`.
        images: of a task, at random, whose inputs are taken.
        threshold: epsilon, share of the squared norm, in (0, 1].
        threshold_step: added to it with every visit.

    Raises:
        ValueError: a value out of range.

    >>> from functools import partial
    >>> from torch.optim import SGD
    >>> from lifelong import GPM, MultiHead, Network, mlp
    >>> network = Network(partial(mlp, (1, 8, 8), [16]), MultiHead)
    >>> GPM(network, partial(SGD, lr=0.1), threshold=0.95).bases
    {}
    """

    divides: ClassVar[bool] = True

    def __init__(
        self,
        network: Network,
        optimizer: MakeOptimizer,
        schedule: Schedule = constant,
        *,
        images: int = 125,
        threshold: float = 0.97,
        threshold_step: float = 0.003,
    ) -> None:
        super().__init__(network, optimizer, schedule)
        if images < 1 or not 0 < threshold <= 1 or threshold_step < 0:
            raise ValueError(
                f"strategy.images={images} must be 1 or more, strategy.threshold={threshold} above "
                f"0 and at most 1, strategy.threshold_step={threshold_step} not negative"
            )
        self.images, self.threshold, self.step = images, threshold, threshold_step
        self.bases: dict[str, Tensor] = {}  # of each weight: orthonormal columns, (inputs, k)
        self._here: dict[str, Tensor] = {}  # the same in a training, as the weights are
        self.method |= {"capacity": {}}

    def on_train_start(self) -> None:
        """Brings the bases to where the weights are, once for all steps."""
        named = self.weights()
        self._here = {name: basis.to(named[name]) for name, basis in self.bases.items()}

    @torch.no_grad()
    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        for name, p in self.weights().items() if self.visit > 1 else ():
            basis = self._here.get(name)
            if basis is None:
                p.grad = None  # nothing is known of what old tasks ask of it
            elif p.grad is not None:
                gradient = p.grad.flatten(1)  # (o, inputs)
                p.grad.copy_((gradient - gradient @ basis @ basis.T).view(p.shape))

    @torch.no_grad()
    def end_task(self, visit: Visit, loader: DataLoader[Batch]) -> None:
        super().end_task(visit, loader)
        self._here = {}
        self.eval()
        draw = torch.Generator().manual_seed(derive(0, "inputs", visit.number))
        rows = torch.randperm(len(visit.train), generator=draw)[: self.images]
        named = self.weights()
        with LayerTracer(named) as calls:
            self.network.body(visit.train[rows.sort().values].x)
        share = min(self.threshold + self.step * (visit.number - 1), 1.0)
        for call in calls.made:
            if call.weight is not None and call.is_layer and call.weight not in calls.elsewhere:
                inputs = patches(call.u, call.kernel, call.options)
                basis = self.bases.get(call.weight)
                self.bases[call.weight] = spanned(inputs.double(), basis, share)
        held = {name: self.bases[name].shape[1] / self.bases[name].shape[0] for name in self.bases}
        self.method["capacity"][str(visit.number)] = {k: round(v, 6) for k, v in held.items()}
        fixed = [name for name in named if name not in held]
        self.method |= {"fixed_after_first": fixed} if fixed else {}
        self.train()

    def get_extra_state(self) -> dict[str, Any]:
        return {**super().get_extra_state(), "bases": dict(self.bases)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        super().set_extra_state(state)
        self.bases = dict(state["bases"])


def patches(u: Tensor, kernel: tuple[int, ...], options: dict[str, Any]) -> Tensor:
    """Inputs of a layer in the order of its weight's entries, (inputs, n): columns are inputs."""
    if not kernel:
        return u.flatten(0, -2).T
    seen = windows(u, kernel, **options)  # (n, rows, columns, height, width, c)
    return seen.permute(5, 3, 4, 0, 1, 2).flatten(0, 2).flatten(1)


def spanned(inputs: Tensor, basis: Tensor | None, share: float) -> Tensor:
    """A basis that holds at least `share` of the squared norm of some inputs (equations 8 and 9).

    Args:
        inputs: (d, n), columns.
        basis: orthonormal columns that are kept, (d, k); None for none.
        share: in (0, 1].
    """
    whole = inputs.square().sum()
    rest, known = inputs, inputs.new_zeros(())
    if basis is not None:
        basis = basis.to(inputs)
        rest = inputs - basis @ (basis.T @ inputs)
        known = whole - rest.square().sum()
    try:  # the left singular vectors, by a product that is smaller where columns are many
        values, vectors = torch.linalg.eigh(rest @ rest.T)
        values, vectors = values.flip(0).clamp(min=0), vectors.flip(1)
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined] # of squares, badly conditioned
        vectors, roots, _ = torch.linalg.svd(rest, full_matrices=False)
        values = roots.square()
    reached = known + values.cumsum(0)
    more = int((reached < share * whole).sum()) + 1 if known < share * whole else 0
    room = len(inputs) - (0 if basis is None else basis.shape[1])
    new = vectors[:, : min(more, room)]
    joined: Tensor = new if basis is None else torch.linalg.qr(torch.cat([basis, new], 1))[0]
    return joined
