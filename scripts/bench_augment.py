"""How fast images are augmented and served: each way against the least that its pixels cost.

`python scripts/bench_augment.py [--quick]` prints, for batches of 10 and 64 of 3 x 32 x 32 from
5,000 images, the time of the barest way over ours (1 is as fast): of crops one gather from a
strided view of all crops of all padded images, made floats, mirrored and normalised; of what is
resampled PyTorch's own resampling of so many pixels, random boxes by a ready grid. The two take
turns, on one thread.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import cycle

import torch
import torch.nn.functional as F
from timing import Case, quiet, show
from torch import Tensor

from lifelong.data import Images
from lifelong.data.transforms import (
    CenterCrop,
    Flip,
    Pad,
    RandomCrop,
    RandomResizedCrop,
    Transform,
)
from lifelong.training.machine import keep_freed_memory

COUNT, SIDE, PADDING, LARGE = 5000, 32, 4, 64
Served = Callable[[], object]


def ours(images: Images, rows: list[Tensor], transform: Transform | None) -> Served:
    """A batch by `Images.get_batch`, the next rows at every call."""
    turn, generator = cycle(rows), torch.Generator().manual_seed(1)
    return lambda: images.get_batch(images.rows(next(turn)), transform, generator)


def bare(pixels: Tensor, rows: list[Tensor], way: str) -> Served:
    """The same by hand."""
    p = PADDING if way == "crop" else 0
    whole = F.pad(pixels, [p] * 4).permute(0, 2, 3, 1).contiguous()
    image, row, column, _ = whole.stride()
    size = (COUNT, 2 * p + 1, 2 * p + 1, SIDE, SIDE * 3)
    windows = whole.as_strided(size, (image, row, column, row, 1))
    labels, turn, batch = torch.zeros(COUNT).long(), cycle(rows), len(rows[0])
    grid = F.affine_grid(torch.eye(2, 3).expand(batch, 2, 3), [batch, 3, LARGE, LARGE])

    def served() -> object:
        chosen = next(turn)
        top, left = torch.randint(0, 2 * p + 1, (2, batch))
        x = windows[chosen, top, left].view(batch, SIDE, SIDE, 3).float()
        if way in ("crop", "flip"):
            mirrored = (torch.rand(batch) < 0.5).nonzero()[:, 0]
            x.index_copy_(0, mirrored, x[mirrored].flip(2))
        x = x.permute(0, 3, 1, 2)
        if way == "resize":
            x = F.interpolate(x, (LARGE, LARGE), mode="bilinear", antialias=True)
        if way == "boxes":
            x = F.grid_sample(x, grid, align_corners=False)
        if way == "pad":
            x = F.pad(x, [2] * 4)
        return x.mul_(1 / 255).sub_(0.5), labels[chosen]

    return served


def main() -> None:
    quiet()
    keep_freed_memory()
    pixels = torch.randint(0, 256, (COUNT, 3, SIDE, SIDE), dtype=torch.uint8)
    images = Images(pixels, torch.zeros(COUNT).long(), torch.zeros(COUNT).long())
    ways: dict[str, tuple[Transform | None, str]] = {
        "none": (None, "none"),
        "flip": (Flip(), "flip"),
        "pad": (Pad(2), "pad"),
        "crop": (RandomCrop(SIDE, PADDING), "crop"),
        "resize, random boxes": (RandomResizedCrop(LARGE, scale=(0.7, 1.0)), "boxes"),
        "resize, tests": (CenterCrop(LARGE, LARGE), "resize"),
    }
    cases: list[Case] = []
    for batch in (10, 64):
        rows = [torch.randperm(COUNT)[:batch] for _ in range(50)]
        for name, (transform, way) in ways.items():
            one, other = bare(pixels, rows, way), ours(images, rows, transform)
            cases.append((f"{name}, batch {batch}", one, other, 100, "at least 0.9"))
    show(cases, 5 if "--quick" in sys.argv else 15)


if __name__ == "__main__":
    main()
