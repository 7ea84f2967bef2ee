"""Images without labels that a person brings along."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from lifelong.data.sources.decoding import pixels
from lifelong.data.sources.pickled import images_of, unpickle
from lifelong.data.sources.pixels import brought
from lifelong.data.sources.source import Source
from lifelong.data.sources.tree import open_tree
from lifelong.data.task import Images


@dataclass(frozen=True)
class HeldOut:
    """The training images of those classes of the stream's own source that the stream leaves out.

    Args:
        source: of the stream.
    """

    source: Source

    @property
    def name(self) -> str:
        """For results."""
        return f"{self.source.name}, other classes"


Origin = str | Path | Source | HeldOut


def unlabeled(origin: Origin, like: Images, used: Collection[int] = ()) -> Images:
    """Images of a source, of some of its classes, of a folder, a zip file or an array file.

    Args:
        origin: where they are: all training images of a `Source`; those of classes that are not
            `used` of `HeldOut`; all below a folder or in a zip file; in an .npy file, or in the
            first array of an .npz file, uint8 (n, c, h, w) or (n, h, w, c); or under "data" in a
            .pkl file as Lifelong Tickets' program reads it, uint8 (n, h, w, c), which is read
            without running anything.
        like: images of the task under which they are asked: the others are brought to their shape,
            transformed and normalised as they are. Labels are 0.
        used: class numbers of the stream.

    Raises:
        ValueError: nothing there, or an unreadable image.
    """
    shape = tuple(like.x.shape[1:])
    if isinstance(origin, Source):
        x = brought(np.array(origin.train_images), shape, origin.name)
    elif isinstance(origin, HeldOut):
        rest = origin.source
        free = ~np.isin(rest.train_labels, list(used))
        if not free.any():
            raise ValueError(
                f"held-out classes: the stream uses all {len(rest.classes)} classes of "
                f"{rest.name}; give fewer, such as tasks=5"
            )
        x = brought(rest.train_images[free], shape, rest.name)
    else:
        path = Path(origin).expanduser()
        if not path.exists():
            raise ValueError(f"{origin}: no such folder, zip file or array file of images")
        read = _READERS.get(path.suffix, _tree)
        x = read(path, shape)
    images = Images(x, torch.zeros(len(x)).long(), like.t[:1].expand(len(x)))
    return images.served_as(like).to(like.x.device)


def _tree(path: Path, shape: tuple[int, ...]) -> torch.Tensor:
    tree = open_tree(path)
    if not tree.paths:
        raise ValueError(f"{path}: holds no images")
    found = [pixels(tree.read(file), shape, f"{path}: {file}") for file in tree.paths]
    return torch.from_numpy(np.stack(found))


def _array(path: Path, shape: tuple[int, ...]) -> torch.Tensor:
    try:
        content = np.load(path, allow_pickle=False)
        images: NDArray[np.uint8] = content[content.files[0]] if path.suffix == ".npz" else content
    except (OSError, ValueError, EOFError, IndexError, BadZipFile) as error:
        raise ValueError(f"{path}: not a readable array file ({error})") from None
    channels = (1, 3)
    if images.dtype != np.uint8 or images.ndim != 4:
        raise ValueError(
            f"{path}: holds {images.dtype} of shape {list(images.shape)}; give uint8 images "
            "(n, c, h, w) or (n, h, w, c)"
        )
    if images.shape[1] not in channels and images.shape[3] in channels:
        images = images.transpose(0, 3, 1, 2)
    return brought(images, shape, str(path))


def _pickle(path: Path, shape: tuple[int, ...]) -> torch.Tensor:
    try:
        found = unpickle(path.read_bytes())
        return torch.from_numpy(np.ascontiguousarray(images_of(found["data"], shape)))
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise ValueError(f'{path}: not a pickle with images under "data" ({error})') from None


_READERS = {".npy": _array, ".npz": _array, ".pkl": _pickle, ".pickle": _pickle}
