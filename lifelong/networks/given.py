"""Objects made in Python that stand for members of the configuration.

A configuration names such an object by its kind and a digest of its content, so that a run can
tell whether it is given the same one again. The object itself lives in this process alone.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from torch import nn

from lifelong.backbones import Wrapped
from lifelong.data import TaskStream
from lifelong.data.transforms import Transform
from lifelong.storage.identity import identity

_objects: dict[tuple[str, int], Any] = {}


def keep(kind: str, value: TaskStream | nn.Module, digest: int | None = None) -> int:
    """Makes an object known to this process; gives its digest, or that under which it is kept."""
    if digest is None:
        digest = value.identity() if isinstance(value, TaskStream) else identity(value)
    _objects[kind, digest] = value
    return digest


def given(
    kind: str,
    digest: int,
    shape: Sequence[int],
    train_transform: Transform | None = None,
    test_transform: Transform | None = None,
    shuffle_seed: int = 0,
    transformed: bool = False,
    **options: Any,
) -> Any:
    """The stream, or the module as a body, that `lifelong.learn` was called with.

    Args:
        kind: `data` or `backbone`.
        digest: of its content.
        shape: of an image, (c, h, w).
        train_transform: of a stream, in place of its own, see `TaskStream`.
        test_transform: likewise.
        shuffle_seed: of a stream that was made without one.
        transformed: whether a stream's images for testing are changed as it says itself; told for
            those who have the configuration alone.
        **options: of a body, see `Wrapped`.

    Raises:
        ValueError: no such object was given to this process.
    """
    if (kind, digest) not in _objects:
        raise ValueError(
            f"{kind}: was given as an object from Python, which this process does not have; call "
            f"lifelong.learn(..., {kind}=<it>) again, or lifelong.load_run(folder, {kind}=<it>)"
        )
    found = _objects[kind, digest]
    if isinstance(found, TaskStream):
        pixels = {id(images.x): images.x for images in found.images()}  # nobody changes them
        stream = copy.deepcopy(found, pixels)
        stream.seed = stream.seed if stream.seeded else shuffle_seed
        for images in stream.images():
            images.augment = train_transform or images.augment
            images.transform = test_transform or images.transform
        return stream
    return Given(found, shape, **options)


class Given(Wrapped):
    """A copy of a module as a body.

    Args:
        module: from images (b, c, h, w) to features, of any shape.
        shape: of an image, (c, h, w).
        **options: see `Wrapped`.
    """

    def __init__(self, module: nn.Module, shape: Sequence[int], **options: Any) -> None:
        super().__init__(copy.deepcopy(module), shape, **options)
        self.drawn = False
