"""Images without labels that a person brings along."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from lifelong.data.sources.folder import open_tree, pixels
from lifelong.data.sources.source import Source
from lifelong.data.task import Images
from lifelong.data.whole import brought


def unlabeled(origin: str | Path | Source, like: Images) -> Images:
    """All images below a folder or in a zip file, or a source's training images.

    Args:
        origin: where they are, in whatever folders.
        like: images of the task under which they are asked: the others are brought to their shape,
            transformed and normalised as they are. Labels are 0.

    Raises:
        ValueError: nothing there, or an unreadable image.
    """
    shape = tuple(like.x.shape[1:])
    if isinstance(origin, Source):
        x = brought(np.array(origin.train_images), shape, origin.name)
    else:
        path = Path(origin).expanduser()
        if not path.exists():
            raise ValueError(f"{origin}: no such folder or zip file of images")
        tree = open_tree(path)
        if not tree.paths:
            raise ValueError(f"{origin}: holds no images")
        found = [pixels(tree.read(file), shape, f"{path}: {file}") for file in tree.paths]
        x = torch.from_numpy(np.stack(found))
    images = Images(x, torch.zeros(len(x)).long(), like.t[:1].expand(len(x)))
    images.scale, images.shift, images.transform = like.scale, like.shift, like.transform
    return images.to(like.x.device)
