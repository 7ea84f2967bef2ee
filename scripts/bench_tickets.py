"""Costs of lifelong tickets, measured in one process: `python scripts/bench_tickets.py [--quick]`.

(a) a training step under a mask that keeps 5 % / one of the dense network, in the second task
(b) bytes of the mask as packed bits and as floats, of a ticket's weights and of the dense ones
(c) choice of 40,000 of 150,000 pool images by 800 anchors: seconds, and memory beyond the features

The pre-activation ResNet-18 of width 64 (16 with --quick), batch 256 in the streams of the paper,
images of 3 x 32 x 32, one thread. The two sides of (a) take turns; the median of the ratios is
printed with their range. (c) runs in a process of its own.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import resource
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from timing import note, quiet, show

from lifelong.backbones import PreActivationResNet18
from lifelong.data import Batch, Images, Task, Visit
from lifelong.networks import MultiHead, TwoBranchNetwork
from lifelong.parts.neighbours import nearest_without_replacement
from lifelong.parts.ticket import sparse
from lifelong.strategies import CIL, Tickets

SHAPE, CLASSES, BATCH = (3, 32, 32), 2, 256
SGD = partial(torch.optim.SGD, lr=0.01, momentum=0.9, weight_decay=5e-4)
POOL, ANCHORS, EACH, FEATURES = 150_000, 800, 50, 512


def visit(index: int, last: bool = False) -> Visit:
    parts = []
    for count in (600, 20, 20):
        x = torch.randint(0, 256, (count, *SHAPE), dtype=torch.uint8)
        y = torch.arange(count) % CLASSES
        parts.append(Images(x, y, torch.full((count,), index), std=torch.full((3,), 255.0)))
    classes = tuple(range(CLASSES * index, CLASSES * (index + 1)))
    return Visit(index + 1, Task(index, "", classes, *parts), last)


def learner(kind: type[CIL], width: int) -> tuple[CIL, dict[str, Batch]]:
    """A strategy in its second task, and a batch of each of its streams; "" are new images."""
    torch.manual_seed(0)
    body = partial(PreActivationResNet18, SHAPE, width)
    heads = partial(MultiHead, hidden=[])
    made = kind(TwoBranchNetwork(body, heads), SGD, batch_size=BATCH, unlabeled="exemplars")
    first, second = visit(0), visit(1, last=True)
    made.begin_task(first)
    made.end_task(first, [])  # type: ignore[arg-type]
    made.begin_task(second)
    made.on_train_epoch_start()
    (now,) = made.rounds(second)
    served = {name: (feed.images, feed.batch_size) for name, feed in now.feeds.items()}
    served[""] = (now.train, now.batch_size)
    batches = {}
    for name, (part, number) in served.items():
        found = part() if callable(part) else part
        if found is not None and len(found):
            batches[name] = found[torch.arange(number or BATCH) % len(found)]
    return made, batches


def step_of(made: CIL, batches: dict[str, Batch]) -> Callable[[], None]:
    optimizer = made.configure_optimizers()["optimizer"]
    feeds = {name: batch for name, batch in batches.items() if name}

    def step() -> None:
        optimizer.zero_grad()
        made.training_loss(batches[""], **feeds).backward()
        made.on_before_optimizer_step(None)
        optimizer.step()
        made.after_step()

    return step


def sizes(made: Tickets, console: Console) -> None:
    def written(content: object) -> int:
        file = io.BytesIO()
        torch.save(content, file)
        return file.tell()

    total = len(made.masks.flat())
    packed = made.masks.packed()
    table = Table("what", "bytes", title=f"{total:,} weights, {made.masks.kept():,} kept")
    table.add_row("mask, packed bits", f"{packed['bits'].numel():,}")
    table.add_row("mask, as floats", f"{4 * total:,}")
    table.add_row(
        "ticket: mask and weights kept", f"{written([packed, sparse(made.state(), packed)]):,}"
    )
    table.add_row("dense network", f"{written(made.state()):,}")
    console.print(table)


def memory() -> int:
    """Bytes that the process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def choose(answer: multiprocessing.Queue[tuple[float, int, int]], pool: int) -> None:
    torch.set_num_threads(1)
    features, anchors = torch.randn(pool, FEATURES), torch.randn(ANCHORS, FEATURES)
    nearest_without_replacement(anchors[:2], features[:1000], 5)
    before, most, done = memory(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.005):
            most[0] = max(most[0], memory() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun = time.perf_counter()
    found = nearest_without_replacement(anchors, features, EACH)
    took = time.perf_counter() - begun
    done.set()
    watcher.join()
    answer.put((took, most[0], len(found)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--quick", action="store_true", help="a narrow network, fewer turns")
    given = parser.parse_args()
    quiet()
    console, width = Console(width=100), 16 if given.quick else 64
    (dense, images), (masked, same) = learner(CIL, width), learner(Tickets, width)
    assert isinstance(masked, Tickets)
    masked.masks.prune(masked.prunable(), 0.95)
    masked.masks.hold(masked.prunable())
    case = (
        "(a) masked step / dense step",
        step_of(masked, same),
        step_of(dense, images),
        1,
        "at most 1.1",
    )
    show([case], 5 if given.quick else 7)
    sizes(masked, console)
    context = multiprocessing.get_context("spawn")
    answer: multiprocessing.Queue[tuple[float, int, int]] = context.Queue()  # type: ignore[assignment]
    process = context.Process(target=choose, args=(answer, POOL))
    process.start()
    took, most, count = answer.get()
    process.join()
    console.print(
        f"(c) {count:,} of {POOL:,} by {ANCHORS} anchors: {took:.1f} s, {most / 2**20:.0f} MiB "
        "beyond the features (limit 1024)"
    )
    note("(c) MiB beyond the features", most / 2**20, "at most 1024")


if __name__ == "__main__":
    main()
