"""Choice of images from a pool by their nearness to others."""

from __future__ import annotations

import torch
from rich.progress import track
from torch import Tensor

MEMORY = 2**27  # bytes of the distances that are held at once


@torch.no_grad()
def nearest_without_replacement(
    anchors: Tensor, pool: Tensor, each: int, most: int | None = None
) -> Tensor:
    """Every anchor in turn takes its nearest pool entries of those that are left.

    Chen et al., "Long Live the Lottery", ICLR 2021: how unlabeled images are chosen.

    Args:
        anchors: features (a, f), in the order in which they choose.
        pool: features (n, f).
        each: entries that an anchor takes, by squared Euclidean distance.
        most: entries taken in all; None for no limit. The pool is a limit, too.

    Returns:
        Indices into the pool, (m,), in the order in which they were taken, none twice.
    """
    limit = len(pool) if most is None else min(most, len(pool))
    squares = pool.square().sum(1)  # (n,)
    taken = torch.zeros(len(pool), dtype=torch.bool, device=pool.device)
    chosen: list[Tensor] = []
    left = min(limit, each * len(anchors))
    step = max(1, MEMORY // (4 * max(len(pool), 1)))
    parts = anchors.split(step)
    for part in track(parts, "choosing images", disable=len(parts) < 10):
        distances = torch.addmm(squares, part, pool.T, alpha=-2)  # (step, n), less |anchor|^2
        for row in distances:
            if not left:
                break
            row[taken] = torch.inf
            found = row.topk(min(each, left), largest=False).indices
            taken[found] = True
            chosen.append(found)
            left -= len(found)
    return torch.cat(chosen) if chosen else torch.zeros(0, dtype=torch.long)
