"""How fast networks answer test images on a CPU: in batches of other sizes, over ours.

`python scripts/bench_answers.py [--quick]` prints, for several bodies, the time of a pass over
500 images in batches of 500, 128 and 16 over that in the batches that tests have, which are
`Images.portions` (2 is twice the time of ours). The two take turns, on one thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

import torch
from timing import Case, quiet, show
from torch import Tensor, nn

from lifelong.backbones import AlexNet, ReducedResNet, convnet, mlp
from lifelong.data import Images
from lifelong.training.machine import keep_freed_memory

COUNT = 500
BODIES: dict[str, tuple[Callable[[tuple[int, int, int]], nn.Module], int, int]] = {
    "mlp400, 28 x 28": (lambda shape: mlp(shape, [400, 400]), 1, 28),
    "conv_small, 32 x 32": (partial(convnet, channels=[32, 32, 64, 64], pools=[1, 2, 1, 2]), 3, 32),
    "reduced_resnet, 32 x 32": (ReducedResNet, 3, 32),
    "reduced_resnet, 84 x 84": (ReducedResNet, 3, 84),
    "alexnet, 224 x 224": (partial(AlexNet, weights="none"), 3, 224),
}


def asked(body: nn.Module, images: Images, batches: tuple[Tensor, ...]) -> Callable[[], object]:
    """A pass over all images."""

    @torch.no_grad()
    def work() -> None:
        for rows in batches:
            body(images[rows].x)

    return work


def main() -> None:
    quiet()
    keep_freed_memory()
    cases: list[Case] = []
    for name, (make, channels, side) in BODIES.items():
        pixels = torch.randint(0, 256, (COUNT, channels, side, side), dtype=torch.uint8)
        images = Images(pixels, torch.zeros(COUNT).long(), torch.zeros(COUNT).long())
        body = make((channels, side, side)).eval()
        ours = asked(body, images, images.portions())
        for size in (500, 128, 16):
            other = asked(body, images, torch.arange(COUNT).split(size))
            cases.append((f"{name}, {size} at a time", other, ours, 1, "at least 0.9"))
    show(cases, 2 if "--quick" in sys.argv else 5)


if __name__ == "__main__":
    main()
