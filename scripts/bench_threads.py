"""What a second, fourth, .. thread brings to a step of training, by body, image and batch.

`python scripts/bench_threads.py` prints the seconds of a step with one thread over those with more;
`trainer.threads=auto` (`lifelong/threads.py`) goes by these figures. Run it on an idle machine.
"""

from __future__ import annotations

import math
import os
import statistics
import time
from collections.abc import Callable

import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rich.console import Console
from rich.progress import track
from rich.table import Table

from lifelong.configuration.compose import FOLDER

TURNS = 5  # of each number of threads
CASES = [
    ("conv_small", (1, 8, 8), 16), ("mlp256", (1, 28, 28), 10), ("mlp256", (1, 28, 28), 128),
    ("conv_small", (1, 28, 28), 32), ("conv4", (3, 32, 32), 10), ("conv4", (3, 32, 32), 64),
    ("conv4", (3, 32, 32), 256), ("vgg9_small", (3, 64, 64), 20), ("vgg9_small", (3, 64, 64), 200),
    ("reduced_resnet", (3, 32, 32), 10), ("reduced_resnet", (3, 32, 32), 64),
    ("reduced_resnet", (3, 84, 84), 10), ("resnet18", (3, 32, 32), 10),
    ("resnet18", (3, 32, 32), 128), ("office4", (3, 128, 128), 10), ("resnet18", (3, 224, 224), 8),
]  # fmt: skip


def step_of(name: str, shape: tuple[int, int, int], batch: int) -> Callable[[], None]:
    """A step of training of a body: forward, backward, update."""
    node = OmegaConf.load(FOLDER / "backbone" / f"{name}.yaml")["backbone"]
    node.shape = list(shape)
    if "weights" in node:
        node.weights = "none"
    body = instantiate(node, _convert_="all")()
    optimizer = torch.optim.SGD(body.parameters(), lr=1e-3)
    x = torch.randn(batch, *shape)

    def step() -> None:
        optimizer.zero_grad()
        body(x).square().mean().backward()
        optimizer.step()

    return step


def seconds(step: Callable[[], None], threads: int) -> float:
    """Of one step, for about half a second."""
    torch.set_num_threads(threads)
    step()
    begun, steps = time.perf_counter(), 0
    while time.perf_counter() - begun < 0.5:
        step()
        steps += 1
    return (time.perf_counter() - begun) / steps


def main() -> None:
    """Prints the table; numbers of threads take turns."""
    counts = [n for n in (1, 2, 4, 8, 16) if n <= (os.cpu_count() or 1)]
    table = Table(
        "body",
        "image",
        "batch",
        "values of a batch",
        "ms, 1 thread",
        *(f"x {n}" for n in counts[1:]),
    )
    for name, shape, batch in track(CASES, "measuring"):
        step = step_of(name, shape, batch)
        found = [[seconds(step, n) for n in counts] for _ in range(TURNS)]
        one, *more = (statistics.median(each) for each in zip(*found, strict=True))
        table.add_row(
            name, "x".join(map(str, shape)), str(batch), f"{math.prod(shape) * batch:,}",
            f"{1000 * one:.2f}", *(f"{one / each:.2f}" for each in more),
        )  # fmt: skip
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
