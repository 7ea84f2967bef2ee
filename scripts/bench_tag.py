"""Ratios of speed of TAG, measured in one process: `python scripts/bench_tag.py [--quick]`.

(a) a step of TAG-RMSProp after 1, 5, 10, 20 tasks / a step of torch.optim.RMSprop
(b) the same after 20 tasks in loops like those of the released program (each tensor looked up by
    name, each cosine read as a number, earlier moments joined one by one) / TAG
(b') in leaner loops (a list of tensors, moments summed) / TAG
(c) a whole training step with TAG after 20 tasks / one with RMSprop
(d) fine-tuning by the framework / by a bare PyTorch loop, a task of one epoch

The reduced ResNet on images of 3 x 32 x 32, batch 10, one thread. The two sides of a ratio take
turns; the median of the ratios of the pairs is printed with their range.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from lightning import Trainer
from timing import quiet, show
from torch import Tensor
from torch.optim import Optimizer

from lifelong.backbones import ReducedResNet
from lifelong.data import Images, Task, TaskStream, Visit
from lifelong.networks import Network, OutputMatrix
from lifelong.optim import TAG
from lifelong.strategies import Strategy
from lifelong.training.callbacks import EpochSeeds, Logging, Validation

BATCH, IMAGES, CLASSES, TASKS = 10, 1000, 5, 20
Step = Callable[[], object]


def network() -> Network:
    torch.manual_seed(0)
    made = Network(partial(ReducedResNet, (3, 32, 32)), OutputMatrix)
    made.add_task(0, range(CLASSES))
    return made


def images(count: int) -> Images:
    x = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    y = torch.arange(count) % CLASSES
    return Images(x, y, torch.zeros(count, dtype=torch.long), std=torch.full((3,), 255.0))


def lived(make: Callable[..., Optimizer], tasks: int, by_name: bool = False) -> Step:
    """A step of an optimizer that has seen so many tasks."""
    net = network()
    made = list(net.parameters())
    for p in made:
        p.grad = torch.randn_like(p)
    optimizer = make(made, net) if by_name else make(made)
    for _ in range(tasks):
        optimizer.step()
        optimizer.end_task()  # type: ignore[attr-defined]
        for p in made:
            p.grad = torch.randn_like(p)
    return optimizer.step


class Plain(Optimizer):
    """TAG-RMSProp in plain loops.

    Args:
        params: trained.
        network: look each parameter up by name in it, and stack the moments of all tasks before
            they are summed, one task after the other.
    """

    def __init__(self, params: list[torch.nn.Parameter], network: Network | None = None) -> None:
        super().__init__(params, {})
        self.params, self.network = params, network
        self.names = [name for name, _ in network.named_parameters()] if network else []
        self.kept: list[list[tuple[Tensor, Tensor]]] = [[] for _ in params]
        self.begin()

    def begin(self) -> None:
        self.moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in self.params]

    def end_task(self) -> None:
        for kept, (mean, square) in zip(self.kept, self.moments, strict=True):
            kept.append((mean.flatten() / mean.norm(), square))
        self.begin()

    def looked_up(self, wanted: str) -> torch.nn.Parameter:
        assert self.network is not None
        return next(p for name, p in self.network.named_parameters() if name == wanted)

    @torch.no_grad()
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        found = self.params if self.network is None else map(self.looked_up, self.names)
        for p, kept, (mean, square) in zip(found, self.kept, self.moments, strict=True):
            assert p.grad is not None
            mean.mul_(0.9).add_(0.1 * p.grad)
            square.mul_(0.99).add_(0.01 * p.grad**2)
            directions, squares = [u for u, _ in kept], [*(v for _, v in kept), square]
            cosines = [float(torch.dot(mean.flatten() / mean.norm(), u)) for u in directions]
            weights = [math.exp(-5.0 * c) for c in cosines] + [math.exp(-5.0) if kept else 1.0]
            total = (summed if self.network is None else joined)(weights, squares)
            p.sub_(2.5e-4 * p.grad / (total.sqrt() + 1e-8))


def summed(weights: list[float], squares: list[Tensor]) -> Tensor:
    """The weighted sum, one addition a task."""
    total = torch.zeros_like(squares[0])
    for weight, square in zip(weights, squares, strict=True):
        total.add_(square, alpha=weight)
    return total


def joined(weights: list[float], squares: list[Tensor]) -> Tensor:
    """The weighted sum over a stack that grows by a task at a time."""
    stack = squares[0][None]
    for square in squares[1:]:
        stack = torch.cat([stack, square[None]])
    return torch.einsum("t,t...->...", torch.tensor(weights), stack)


def training_step(
    optimizer_of: Callable[[list[torch.nn.Parameter]], Optimizer], tasks: int
) -> Step:
    """Forward, backward and update on a fixed batch."""
    net = network()
    optimizer = optimizer_of(list(net.parameters()))
    batch = TASK.train[torch.arange(BATCH)]
    x, y, t = batch.x, batch.y, batch.t
    for _ in range(tasks):
        F.cross_entropy(net(x, t), y).backward()
        optimizer.step()
        optimizer.end_task()  # type: ignore[attr-defined]

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(net(x, t), y).backward()
        optimizer.step()

    return step


def framework() -> None:
    """One task of one epoch as a run trains it."""
    stream = TaskStream([TASK], name="bench", batch_size=BATCH, shuffle_seed=0)
    strategy = Strategy(network(), partial(torch.optim.SGD, lr=0.1))
    strategy.begin_task(Visit(1, TASK, True))
    trainer = Trainer(
        max_epochs=1, logger=False, enable_progress_bar=False, num_sanity_val_steps=0,
        enable_model_summary=False, accelerator="cpu", enable_checkpointing=True,
        limit_val_batches=0, callbacks=[EpochSeeds(0, 0), Validation(0, None, {}), Logging([])],
    )  # fmt: skip
    trainer.fit(strategy, datamodule=stream)


def bare() -> None:
    """The same work by hand."""
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    net.train()
    for x, y in batches():
        output = net.heads.output  # type: ignore[union-attr]
        scores = output(net.body(x))[:, :CLASSES]  # type: ignore[operator]
        optimizer.zero_grad()
        F.cross_entropy(scores, y).backward()
        optimizer.step()


def batches() -> Iterator[tuple[Tensor, Tensor]]:
    x, y = TASK.train.x, TASK.train.y
    for rows in torch.randperm(IMAGES).split(BATCH):
        yield x[rows].float() / 255, y[rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer pairs")
    pairs, times = (3, 5) if parser.parse_args().quick else (9, 20)
    tag = partial(TAG, lr=2.5e-4)
    rmsprop = partial(torch.optim.RMSprop, lr=2.5e-4)
    show(
        [
            *(
                (
                    f"(a) TAG after {tasks} tasks / RMSprop",
                    lived(tag, tasks), lived(rmsprop, 0), times, "-",
                )
                for tasks in (1, 5, 10, TASKS)
            ),
            (
                "(b) loops as released / TAG",
                lived(Plain, TASKS, by_name=True), lived(tag, TASKS), 3, "at least 8",
            ),
            ("(b') lean loops / TAG", lived(Plain, TASKS), lived(tag, TASKS), 3, "-"),
            (
                "(c) training step, TAG / RMSprop",
                training_step(tag, TASKS), training_step(rmsprop, 0), times, "at most 1.5",
            ),
            ("(d) framework / bare loop", framework, bare, 1, "at most 1.05"),
        ],
        pairs,
    )  # fmt: skip


if __name__ == "__main__":
    quiet()
    TASK = Task(0, "task 1", tuple(range(CLASSES)), images(IMAGES), images(0), images(500))
    main()
