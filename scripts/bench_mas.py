"""Ratios of speed of MAS, measured in one process: `python scripts/bench_mas.py [--quick]`.

(a) exact importance by one backward pass an image / in one pass a batch, global
(a') the same / local, which needs no backward pass
(b) exact importance / the batched approximation, also of a vision transformer of four blocks
(c) a training step of MAS in its second task / one of fine-tuning

Two fully connected layers of 256 (mlp256) and four small convolutions (conv_small) on images of
1 x 28 x 28, 200 of them for importances, and AlexNet on 32 of 3 x 224 x 224; batch 32 for steps,
one thread. The two sides of a ratio take turns; the median of the ratios is printed with their
range. At the end the memory that AlexNet's exact importance takes beyond a pass forward and back
that leaves gradients, in a process of its own; the limit is the size of the weights.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from timing import Case, note, quiet, show
from torch import nn

from lifelong.backbones import AlexNet, Body, convnet, mlp
from lifelong.backbones.wrapped import Wrapped
from lifelong.data import Images, Task, Visit
from lifelong.networks import MultiHead, Network
from lifelong.parts.per_image import batch_mean, image_mean, local_mean, squared_norm
from lifelong.strategies import MAS, Strategy

BATCH, CLASSES, SHAPE, LARGE = 32, 10, (1, 28, 28), (3, 224, 224)
BODIES: dict[str, Callable[[], Body]] = {
    "mlp256": partial(mlp, SHAPE, [256, 256]),
    "conv_small": partial(convnet, SHAPE, [16, 16, 32, 32], [1, 2, 1, 2]),
    "alexnet": partial(AlexNet, LARGE, "none"),
    "transformer": lambda: transformer(),
}
IMAGES = {"mlp256": 200, "conv_small": 200, "alexnet": 32, "transformer": 50}  # for importances
SHAPES = {"alexnet": LARGE, "transformer": (3, 28, 28)}


def transformer() -> Body:
    from torchvision.models import VisionTransformer

    module = VisionTransformer(28, 4, num_layers=4, num_heads=3, hidden_dim=96, mlp_dim=192)
    module.heads = nn.Identity()  # type: ignore[assignment]
    return Wrapped(module, SHAPES["transformer"])


def images(count: int, shape: tuple[int, ...] = SHAPE) -> Images:
    x = torch.randint(0, 256, (count, *shape), dtype=torch.uint8)
    y = torch.arange(count) % CLASSES
    return Images(x, y, torch.zeros(count, dtype=torch.long), std=torch.full(shape[:1], 255.0))


def network(name: str) -> Network:
    torch.manual_seed(0)
    return Network(BODIES[name], MultiHead)


def importances(name: str) -> dict[str, Callable[[], object]]:
    """Ways to find the importance of a body's weights, by name."""
    net = network(name)
    net.add_task(0, range(CLASSES))
    net.eval()
    named = {key: p for key, p in net.named_parameters() if key.startswith("body.")}
    shape = SHAPES.get(name, SHAPE)
    batches = [images(IMAGES[name], shape)[torch.arange(IMAGES[name])]]
    x = batches[0].x

    def one_by_one() -> None:
        totals = {key: torch.zeros_like(p) for key, p in named.items()}
        for image in x.split(1):
            gradients = torch.autograd.grad(
                net.logits(image, 0).square().sum(), list(named.values())
            )
            for key, gradient in zip(named, gradients, strict=True):
                totals[key] += gradient.abs()

    return {
        "one": one_by_one,
        "exact": lambda: image_mean(net, batches, named, squared_norm),
        "local": lambda: local_mean(net, batches, named),
        "batched": lambda: batch_mean(net, batches, named, squared_norm),
    }


def step_of(method: Callable[..., Strategy], name: str) -> Callable[[], None]:
    """A step in the second task."""
    strategy = method(network(name), partial(torch.optim.SGD, lr=1e-4))
    for index in (0, 1):
        task = replace(TASK, index=index)
        visit = Visit(index + 1, task, False)
        strategy.begin_task(visit)
        if index == 0:
            strategy.end_task(visit, [])  # type: ignore[arg-type]
    optimizer = strategy.configure_optimizers()["optimizer"]
    batch = TASK.train[torch.arange(BATCH)]._replace(t=torch.ones(BATCH, dtype=torch.long))
    strategy.train()

    def step() -> None:
        optimizer.zero_grad()
        strategy.training_loss(batch).backward()
        strategy.on_before_optimizer_step(None)
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer pairs")
    pairs = 3 if parser.parse_args().quick else 9
    cases: list[Case] = []
    for name in BODIES:
        ways = importances(name)
        if name == "transformer":
            cases += [
                (f"(b) exact / batched, {name}", ways["exact"], ways["batched"], 1, "at most 1.5"),
            ]
            continue
        cases += [
            (f"(a) one by one / exact, {name}", ways["one"], ways["exact"], 1, "at least 5"),
            (f"(a') one by one / local, {name}", ways["one"], ways["local"], 1, "-"),
            (f"(b) exact / batched, {name}", ways["exact"], ways["batched"], 1, "-"),
        ]
        if name == "alexnet":
            continue
        mas, plain = step_of(MAS, name), step_of(Strategy, name)
        cases += [
            (f"(c) step of MAS / of fine-tuning, {name}", mas, plain, 20, "at most 1.25"),
        ]
    show([case for case in cases if "alexnet" not in case[0]], pairs)
    show([case for case in cases if "alexnet" in case[0]], min(pairs, 3))
    taken, weights = multiprocessing.get_context("spawn").Pool(1).apply(memory)
    print(f"memory of AlexNet's exact importance: {taken:.0f} MiB; limit {weights:.0f} MiB")
    note("memory of AlexNet's exact importance / its weights", taken / weights, "at most 1")


def memory() -> tuple[float, float]:
    """MiB that the exact importance of AlexNet takes at most, and MiB of its weights."""
    quiet()
    ways = importances("alexnet")
    net = network("alexnet")
    net.add_task(0, range(CLASSES))
    x = images(IMAGES["alexnet"], LARGE)[torch.arange(IMAGES["alexnet"])].x
    net.logits(x, 0).square().sum().backward()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    net.zero_grad(set_to_none=True)
    ways["exact"]()
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return taken / 2**10, sum(p.numel() for p in net.parameters()) * 4 / 2**20


if __name__ == "__main__":
    quiet()
    TASK = Task(0, "task 1", tuple(range(CLASSES)), images(200), images(10), images(10))
    main()
