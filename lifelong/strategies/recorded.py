"""Training steps recorded once and replayed: a GPU is then asked for a whole step at a time.

A small network keeps a GPU waiting: Python asks for some hundred small pieces of work a step, and
asking takes longer than the work. A CUDA graph (PyTorch's `torch.cuda.CUDAGraph`) asks once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

from lifelong.data import Batch, Fed
from lifelong.optim.task_optimizer import TaskOptimizer

Work = Callable[[], None]
Capture = Callable[[Work], Work]  # records what a work does to tensors; gives what does it again

SAME = 32  # updates alike before one is recorded
WARM_UP = 3  # steps as usual before one is recorded: libraries choose their algorithms in them
MOST = 8  # recordings of a round, as of whole batches and of the last one


@dataclass(frozen=True)
class Recording:
    """A step on tensors that stay where they are."""

    batches: list[Batch]
    loss: Tensor
    gradients: list[tuple[nn.Parameter, Tensor | None]]
    replay: Work

    def __call__(self, batches: list[Batch]) -> Tensor:
        """The loss of other batches; their gradients are in place."""
        for own, other in zip(self.batches, batches, strict=True):
            own.x.copy_(other.x)
            own.y.copy_(other.y)
        self.replay()
        for p, gradient in self.gradients:
            p.grad = gradient
        return self.loss


class RecordedSteps:
    """The loss and the gradients of training steps, recorded where a step of the kind came before.

    Args:
        capture: how a step is recorded.

    >>> def run_again(work):  # nothing is recorded: it runs as it did
    ...     work()
    ...     return work
    >>> w = nn.Parameter(torch.ones(2))
    >>> steps = RecordedSteps(run_again)
    >>> def loss(fed):
    ...     return (fed.batch.x @ w).sum()
    >>> fed = Fed(Batch(torch.ones(1, 2), torch.zeros(1), torch.zeros(1).long()), {})
    >>> [steps(fed, 0, lambda: [w], loss) for _ in range(WARM_UP + 1)], w.grad
    ([None, None, None, tensor(2.)], tensor([1., 1.]))
    """

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.updates = RecordedUpdates(capture)
        self.forget()

    def forget(self) -> None:
        """Other parameters, or another method's step, come now."""
        self.updates.forget()
        self._met: dict[Hashable, int] = {}
        self._recorded: dict[Hashable, Recording] = {}

    def __call__(
        self,
        fed: Fed,
        kind: Hashable,
        parameters: Callable[[], list[nn.Parameter]],
        loss_of: Callable[[Fed], Tensor],
    ) -> Tensor | None:
        """The loss, with gradients in place; None for a step that is to go as usual.

        Args:
            fed: batches; of one task each, else it is None.
            kind: what the step depends on beside pixels and labels.
            parameters: gives those that are trained.
            loss_of: their loss.
        """
        batches = [fed.batch, *fed.feeds.values()]
        if any(len(batch.t) == 0 or bool((batch.t != batch.t[0]).any()) for batch in batches):
            return None
        key = (kind, *((batch.x.shape, int(batch.t[0])) for batch in batches))
        if key not in self._recorded:
            self._met[key] = met = self._met.get(key, 0) + 1
            if met <= WARM_UP or len(self._recorded) == MOST:
                return None
            self._recorded[key] = self._record(fed, parameters(), loss_of)
        return self._recorded[key](batches)

    def _record(
        self, fed: Fed, parameters: list[nn.Parameter], loss_of: Callable[[Fed], Tensor]
    ) -> Recording:
        own = Fed(_copied(fed.batch), {name: _copied(part) for name, part in fed.feeds.items()})
        losses: list[Tensor] = []
        device = fed.batch.x.device.type

        def work() -> None:
            for p in parameters:
                p.grad = None
            torch.clear_autocast_cache()
            loss = loss_of(own)
            with torch.autocast(device, enabled=False):  # the type follows from that of the forward
                loss.backward()
            torch.clear_autocast_cache()
            losses.append(loss.detach())

        replay = self.capture(work)
        gradients = [(p, p.grad) for p in parameters]
        return Recording([own.batch, *own.feeds.values()], losses[0], gradients, replay)


class RecordedUpdates:
    """What an optimizer does to gradients in place, recorded where many steps did the same.

    Args:
        capture: how it is recorded.
    """

    def __init__(self, capture: Capture) -> None:
        self.capture = capture
        self.forget()

    def forget(self) -> None:
        """Other parameters, or another state of theirs, come now."""
        self._options: Hashable = None
        self._wait = SAME
        self._met: dict[Hashable, int] = {}
        self._recorded: dict[Hashable, Work] = {}

    def over(self, optimizer: Optimizer, replayed: Callable[[], bool]) -> None:
        """Lets the optimizer's steps be recorded.

        Args:
            optimizer: one without hooks of its steps, which would be passed over.
            replayed: whether the gradients lie where a recorded step puts them.
        """
        usual = type(optimizer).step  # not of this one, which would keep itself alive

        def step(optimizer: Optimizer, closure: Callable[[], Any] | None = None) -> Any:
            loss = None
            if closure is not None:
                with torch.enable_grad():
                    loss = closure()
            if not (replayed() and self._replay(optimizer, partial(usual, optimizer))):
                usual(optimizer)
            return loss

        optimizer.step = MethodType(step, optimizer)  # type: ignore[method-assign]

    def _replay(self, optimizer: Optimizer, usual: Callable[[], Any]) -> bool:
        """Moves the weights by a recording; False for an update that is to go as usual."""
        if not updates_alike(optimizer):
            return False
        groups = optimizer.param_groups
        options = tuple(
            tuple((k, v) for k, v in group.items() if k not in ("params", "initial_lr"))
            for group in groups
        )
        if options != self._options:
            wait = 4 * self._wait if self._recorded else self._wait  # they may not stay for long
            self.forget()
            self._options, self._wait = options, wait
        key = tuple(
            (p.data_ptr(), None if p.grad is None else p.grad.data_ptr())
            for group in groups for p in group["params"]
        )  # fmt: skip
        if key in self._recorded:
            self._recorded[key]()
            if isinstance(optimizer, TaskOptimizer):
                optimizer.replayed()
            return True
        if len(self._met) > MOST:  # gradients lie elsewhere in each step
            self._met.clear()
        self._met[key] = met = self._met.get(key, 0) + 1
        if met <= self._wait or len(self._recorded) == MOST:
            return False
        self._recorded[key] = self.capture(usual)
        self._recorded[key]()
        return True


def updates_alike(optimizer: Optimizer) -> bool:
    """Whether an optimizer does the same in each step, at fixed places, while its options stay.

    Not where it counts steps in what it computes. It holds for a class that says so, not for those
    below it.
    """
    kind = type(optimizer)
    return kind is SGD or ("updates_alike" in vars(kind) and bool(optimizer.updates_alike))  # type: ignore[attr-defined]


def _copied(batch: Batch) -> Batch:
    return batch._replace(x=batch.x.clone(), y=batch.y.clone())


def cuda_graph(work: Work) -> Work:
    """Records a work as a CUDA graph.

    Raises:
        ValueError: a work that waits for the device, or copies from the host.
    """
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    try:
        with torch.cuda.graph(graph):
            work()
    except RuntimeError as error:
        raise ValueError(
            f"trainer.cuda_graphs=true: this training step cannot be recorded "
            f"({str(error).splitlines()[0]}); leave it out"
        ) from error
    replay: Work = graph.replay
    return replay
