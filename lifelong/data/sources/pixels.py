"""Arrays of images brought to another shape."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def brought(images: NDArray[np.uint8], shape: Sequence[int], name: str) -> Tensor:
    """Images (n, c, h, w) brought to `shape`; channels of grey ones are one and the same memory."""
    from torchvision.transforms.v2.functional import resize

    channels, height, width = shape
    x = torch.from_numpy(np.ascontiguousarray(images))
    if x.shape[2:] != (height, width) and len(x):
        x = torch.cat([resize(part, [height, width]) for part in x.split(10_000)])
    if x.shape[1] not in (1, channels):
        raise ValueError(
            f"data.shape={list(shape)}: the images of {name} have {x.shape[1]} channels"
        )
    return x.expand(-1, channels, height, width) if len(x) else x.new_empty((0, *shape))
