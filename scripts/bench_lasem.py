"""Ratios of speed, measured in one process: `python scripts/bench_lasem.py [--search tf 4g]`.

(a) an EM step with a forward pass for each configuration / the step on the prefix tree
(b) a LASEM step / a step of the network that shares every layer
(c) an epoch of the framework / the same epoch as a bare PyTorch loop, sharing every layer
(d) preparing a task's images one by one through a DataLoader / here, at once
(e) an epoch of LASEM that leaves out unlikely configurations, one being certain / as (b)
(f) an epoch of every configuration by itself, as brute force trains / the epoch of (e)

CIFAR-100 shapes, 4 layers, batch 10, 170 training images, one thread. The two sides of a ratio take
turns; the median of the ratios of the pairs is printed with their range.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from lightning import Trainer
from timing import quiet, show
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from lifelong.backbones import convnet, resnet17
from lifelong.data import Batch, Images, Task, TaskStream, Visit
from lifelong.data.normalisation import moments
from lifelong.networks import MultiHead
from lifelong.optim import TensorFlowRMSProp, inverse_time
from lifelong.strategies import LASEM, Strategy
from lifelong.training.callbacks import EpochSeeds, Logging, Validation
from lifelong.transfer import (
    DeconvolvedTransferLayer,
    HardTransferLayer,
    Narrowing,
    Pattern,
    TensorFactoredTransferLayer,
    TransferLayer,
    TransferNetwork,
    every,
    top,
)
from lifelong.transfer.config import GROUPS

BATCH, TRAIN, VALIDATION, CLASSES = 10, 170, 30, 10
# Multiplications of a naive forward pass over those on the tree.
MULTIPLICATIONS = {
    **dict.fromkeys(("hps", "tf", "dfcnn"), 1.72),
    "4g": 2.13,
    "5g": 3.52,
    "6g": 4.13,
    "7g": 4.29,
    "8g": 4.31,
}

SIZES = [(2, 16, 3, 24), (2, 24, 3, 48), (2, 32, 3, 64), (2, 36, 3, 72)]
KINDS: dict[str, Callable[..., TransferLayer]] = {
    "hps": HardTransferLayer,
    "tf": TensorFactoredTransferLayer,
    "dfcnn": partial(DeconvolvedTransferLayer, sizes=SIZES),
}


def network(pattern: Pattern, kind: str = "hps") -> TransferNetwork:
    """The network of the CIFAR-100 stream, or with a name of groups the 17-layer one."""
    torch.manual_seed(0)
    if kind in GROUPS:
        heads = partial(MultiHead, hidden=[1000], dropout=0.5)
        pattern = partial(every, groups=kind)
        return TransferNetwork(partial(resnet17, (3, 32, 32)), heads, HardTransferLayer, pattern)
    body = partial(convnet, (3, 32, 32), [32, 32, 64, 64], [1, 2, 1, 2])
    heads = partial(MultiHead, hidden=[64], dropout=0.5)
    return TransferNetwork(body, heads, KINDS[kind], pattern)


def images(count: int) -> Images:
    x = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
    y = torch.arange(count) % CLASSES
    return Images(x, y, torch.zeros(count, dtype=torch.long), *moments(x, 255.0))


def task() -> Task:
    parts = (images(count) for count in (TRAIN, VALIDATION, 1000))
    return Task(0, "task 1", tuple(range(CLASSES)), *parts)


def strategy_of(method: Callable[..., Strategy], pattern: Pattern, kind: str = "hps") -> Strategy:
    made = method(
        network(pattern, kind),
        partial(TensorFlowRMSProp, lr=1e-4),
        partial(inverse_time, decay=1 / 4000),
    )
    made.begin_task(Visit(1, TASK, True))
    made.train()
    return made


def step_of(
    strategy: Strategy, loss: Callable[..., torch.Tensor] | None = None
) -> Callable[[], None]:
    """One optimizer step on a fixed batch."""
    optimizer = strategy.make_optimizer([p for p in strategy.parameters() if p.requires_grad])
    batch = TASK.train[torch.arange(BATCH)]
    compute = strategy.training_loss if loss is None else partial(loss, strategy)

    def step() -> None:
        optimizer.zero_grad()
        compute(batch).backward()
        optimizer.step()

    return step


def naive_loss(strategy: LASEM, batch: Batch) -> torch.Tensor:
    """The EM step as the algorithm is written: two forward passes for each configuration."""
    net, x, y = strategy.network, batch.x, batch.y
    head = net.heads.head_for(0)
    with torch.no_grad():
        head.eval()
        log_p = [
            -F.cross_entropy(head(net.features(x, 0, c)), y, reduction="none")
            for c in net.candidates
        ]
        head.train()
        q = strategy.prior.posterior(torch.stack(log_p))
    losses = [F.cross_entropy(head(net.features(x, 0, c)), y) for c in net.candidates]
    strategy.prior.update(q)
    return q @ torch.stack(losses) + net.weighted_penalty(0, q @ strategy.sharing[0], 1)


def framework_epochs(epochs: int, validate: bool) -> Callable[[], None]:
    """Epochs as a run trains them, with its callbacks."""

    def train() -> None:
        stream = TaskStream([TASK], name="bench", batch_size=BATCH, shuffle_seed=0, drop_last=True)
        trainer = Trainer(
            max_epochs=epochs, logger=False, enable_progress_bar=False, num_sanity_val_steps=0,
            enable_model_summary=False, accelerator="cpu", enable_checkpointing=True,
            limit_val_batches=1.0 if validate else 0,
            callbacks=[EpochSeeds(0, 0), Validation(0, None, {}), Logging([])],
        )  # fmt: skip
        trainer.fit(strategy_of(Strategy, top), datamodule=stream)

    return train


def bare_epochs(epochs: int, validate: bool) -> Callable[[], None]:
    """The same work by hand: same network, batches, optimizer, schedule."""

    def train() -> None:
        net = network(top)
        net.add_task(0, range(CLASSES))
        layers = [layer.shared_params for layer in net.transfer_layers()]
        head = net.heads.head_for(0)
        optimizer = TensorFlowRMSProp([p for p in net.parameters() if p.requires_grad], lr=1e-4)
        train, val = (part[torch.arange(len(part))] for part in (TASK.train, TASK.val))
        x, y, vx, vy = train.x, train.y, val.x, val.y

        def scores(h: torch.Tensor) -> torch.Tensor:
            h = h.contiguous(memory_format=torch.channels_last)
            for layer in layers:
                h = layer(h)
            return head(h.permute(0, 2, 3, 1).flatten(1))

        for epoch in range(epochs):
            net.train()
            for group in optimizer.param_groups:
                group["lr"] = 1e-4 / (1 + epoch / 4000)
            for rows in torch.randperm(TRAIN).split(BATCH):
                loss = F.cross_entropy(scores(x[rows]), y[rows])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            if validate:
                net.eval()
                with torch.no_grad():
                    (scores(vx).argmax(1) == vy).float().mean().item()

    return train


class OneByOne(Dataset[tuple[torch.Tensor, int]]):
    """Images through per-image transforms, as data sets are usually written."""

    def __init__(self, x: np.ndarray, y: np.ndarray, mean: list[float], std: list[float]) -> None:
        self.x, self.y = x.transpose(0, 2, 3, 1), y
        self.transform = v2.Compose(
            [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]
        )

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.x[row]), int(self.y[row])


def load_one_by_one() -> None:
    x, y = TASK.train.x, TASK.train.y
    mean, std = moments(x, 255.0)
    data = OneByOne(x.numpy(), y.numpy(), (mean / 255).tolist(), (std / 255).tolist())
    for _ in DataLoader(data, batch_size=BATCH, shuffle=True):
        pass


def load_at_once() -> None:
    x = TASK.train.x
    made = Images(x, TASK.train.y, TASK.train.t, *moments(x, 255.0))
    for rows in torch.randperm(TRAIN).split(BATCH):
        made[rows]


def pruned_epoch() -> Callable[[], None]:
    """An epoch of LASEM in which one configuration has won."""
    strategy = strategy_of(partial(LASEM, narrowing=Narrowing(1e-3)), every)
    assert isinstance(strategy, LASEM)
    strategy.prior.counts[5] = 1e9
    strategy.prior.update(torch.nn.functional.one_hot(torch.tensor(5), 16).float())
    step = step_of(strategy)

    def epoch() -> None:
        strategy.active.begin_epoch()
        for _ in range(TRAIN // BATCH):
            step()

    return epoch


def single_epoch() -> Callable[[], None]:
    """An epoch of the network that shares every layer."""
    step = step_of(strategy_of(Strategy, top))

    def epoch() -> None:
        for _ in range(TRAIN // BATCH):
            step()

    return epoch


def every_epoch() -> Callable[[], None]:
    """An epoch of each configuration by itself."""
    steps = [
        step_of(strategy_of(Strategy, lambda depth, config=config: [config])) for config in every(4)
    ]

    def epoch() -> None:
        for step in steps:
            for _ in range(TRAIN // BATCH):
                step()

    return epoch


def em_steps(kind: str) -> tuple[Callable[[], None], Callable[[], None]]:
    """A step as the algorithm is written, and the same on the prefix tree."""
    naive, tree = strategy_of(LASEM, every, kind), strategy_of(LASEM, every, kind)
    return step_of(naive, naive_loss), step_of(tree)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer pairs")
    parser.add_argument(
        "--search",
        nargs="*",
        default=["hps"],
        choices=[*KINDS, *GROUPS],
        help="networks for (a): kinds of sharing, or groups of the 17-layer body (slow)",
    )
    options = parser.parse_args()
    pairs, times = (3, 2) if options.quick else (7, 5)
    epochs = 4 * times
    searches = [
        (
            f"(a) naive EM step / tree, {kind}",
            *em_steps(kind),
            1,
            f"over {0.8 * MULTIPLICATIONS[kind]:.2f}",
        )
        for kind in options.search
    ]
    show(
        [
            *searches,
            (
                "(b) LASEM step / transfer-all step",
                step_of(strategy_of(LASEM, every)), step_of(strategy_of(Strategy, top)), times, "-",
            ),
            (
                "(c) epoch / bare loop",
                framework_epochs(epochs, False), bare_epochs(epochs, False), 1, "at most 1.10",
            ),
            (
                "(c') the same, validated each epoch",
                framework_epochs(epochs, True), bare_epochs(epochs, True), 1, "-",
            ),
            ("(e) pruned LASEM / transfer-all", pruned_epoch(), single_epoch(), 1, "near 1"),
            ("(f) brute force / pruned LASEM", every_epoch(), pruned_epoch(), 1, "over 10"),
            ("(d) images one by one / at once", load_one_by_one, load_at_once, times, "over 1"),
        ],
        pairs,
    )  # fmt: skip


if __name__ == "__main__":
    quiet()
    TASK = task()
    main()
