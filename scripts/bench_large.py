"""Whether images that do not fit into memory train as fast as those that do.

`python scripts/bench_large.py [images [folder]]` makes a set of 1,000,000 images of 3 x 64 x 64 by
default (12 GB in the folder, /var/tmp by default, removed at the end), trains a small body on it
from the disk and on 20,000 of its images in memory in turn, and prints seconds a step, their ratio
and the resident memory of the process.
"""

from __future__ import annotations

import multiprocessing
import resource
import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

SIDE, CLASSES, FEW, BATCH, STEPS, TURNS = 64, 100, 20_000, 64, 150, 5


class Noise:
    """A data set of PyTorch's kind: image i is noise around a grey that its class has."""

    def __init__(self, images: int, first: int = 0) -> None:
        self.images, self.first = images, first
        self.noise = np.random.default_rng(0).integers(0, 64, (1021, 3, SIDE, SIDE), np.uint8)

    def __len__(self) -> int:
        return self.images

    def __getitem__(self, index: int) -> tuple[np.ndarray[Any, Any], int]:
        label = (self.first + index) % CLASSES
        return self.noise[(index * 7919) % 1021] + np.uint8(label), label


def stream(images: int, folder: Path, where: str) -> Any:
    from lifelong import by_class, materialize
    from lifelong.data.sources.source import prepared

    def read() -> Any:
        return materialize(Noise(images), Noise(2000), shape=(3, SIDE, SIDE), name="noise")

    source = prepared(f"noise-{images}", Path(__file__), folder, read)
    return by_class(source, tasks=1, validation=0.0, batch_size=BATCH, images_on=where)


def steps(made: Any) -> Iterator[float]:
    """Seconds of each training step."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2), nn.ReLU(), nn.Conv2d(16, 32, 3, stride=2), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 15 * 15, CLASSES),
    )  # fmt: skip
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    while True:
        begun = time.perf_counter()
        for batch in made.train_dataloader():
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(batch.x), batch.y).backward()
            optimizer.step()
            yield time.perf_counter() - begun
            begun = time.perf_counter()


def made(images: int, folder: Path) -> None:
    stream(images, folder, "disk")


def measured(images: int, folder: Path) -> None:
    import torch

    torch.set_num_threads(1)
    begun = time.perf_counter()
    large = stream(images, folder, "disk")
    large.to(torch.device("cpu"))
    large.checksum()
    opened, run = time.perf_counter() - begun, steps(large)
    for _ in range(STEPS):
        next(run)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # of the large set alone
    small = stream(FEW, folder, "device")
    small.to(torch.device("cpu"))
    runs = {"disk": run, "memory": steps(small)}
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(TURNS + 1):
        for name, run in runs.items():
            some = [next(run) for _ in range(STEPS)]
            if turn:  # the first one warms up
                taken[name].append(statistics.median(some))
    ratios = [one / other for one, other in zip(taken["disk"], taken["memory"], strict=True)]
    for name, seconds in taken.items():
        print(f"{name}: {1000 * statistics.median(seconds):.2f} ms a step of {BATCH} images")
    print(
        f"disk / memory: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    )
    print(f"{images:,} images: opened in {opened:.0f} s, at most {memory:.2f} GiB resident")


def main() -> None:
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    folder = Path(sys.argv[2] if len(sys.argv) > 2 else "/var/tmp") / "lifelong-large"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        spawn = multiprocessing.get_context("spawn")
        for step, count in ((made, images), (made, FEW), (measured, images)):
            process = spawn.Process(target=step, args=(count, folder))
            process.start()
            process.join()
            if process.exitcode:
                sys.exit(process.exitcode)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
