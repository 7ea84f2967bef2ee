"""Features of a body that keeps its weights: asked once for every image, and kept on disk."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.progress import track
from torch import Tensor

from lifelong.backbones import Wrapped
from lifelong.data import Images, TaskStream
from lifelong.networks import Network
from lifelong.storage.files import write_with
from lifelong.storage.identity import identity
from lifelong.strategies import Strategy

ASKED = 4  # images of each split, before a copy of the features of all is taken


def cache_features(
    strategy: Strategy, stream: TaskStream, folder: Path, device: torch.device
) -> None:
    """Gives the images of a stream the features of a fixed body with `cache`; else does nothing.

    A copy belongs to the body, the pixels and what is done to them; another of any of these is
    computed anew. So are copies that are not what the body gives of some of the images.

    Args:
        strategy: whose network has the body.
        stream: its images; batches then are features, which the body hands on.
        folder: of the data sets; copies are in its `.cache`.
        device: where they are computed.

    Raises:
        ValueError: training images that are augmented anew in every epoch.
    """
    network = strategy.network
    if not isinstance(network, Network) or not isinstance(network.body, Wrapped):
        return
    body = network.body
    if not body.cache:
        return
    if any(_is_augmented(images) for images in stream.images()):
        raise ValueError(
            "backbone.cache=true: the training images are augmented anew in every epoch; leave out "
            "augment, or the cache"
        )
    body.to(device)
    mark_of_body = identity(body)
    parts = list({id(images): images for images in stream.images()}.values())
    for images in track(parts, "features", transient=True):
        served = (images.transform, images.scale, images.shift)
        mark = images.checksum(identity(*served, start=mark_of_body))
        path = folder / ".cache" / f"features-{len(images)}-{mark:08x}.npy"
        images.features = _kept(path, body, images, device)
    body.cpu()


def _is_augmented(images: Images) -> bool:
    """Whether training images are served otherwise than in tests, where nothing is drawn."""
    return images.augment is not None and identity(images.augment) != identity(images.transform)


def _kept(path: Path, body: Wrapped, images: Images, device: torch.device) -> Tensor:
    """The features of some images, read from a file or computed and written to it."""
    try:
        found = torch.from_numpy(np.load(path, allow_pickle=False))
        whole = found.shape == (len(images), body.features) and found.dtype == torch.float32
        if whole and _fits(found, body, images, device):
            return found
    except (OSError, ValueError, EOFError):  # there is none, or it is damaged
        pass
    made = _computed(body, images, device)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_with(path, partial(_write, made))
    except OSError:  # of a full disk, or one that cannot be written: the copy spares time alone
        pass
    return made


def _write(features: Tensor, path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, features.numpy())


@torch.no_grad()
def _fits(found: Tensor, body: Wrapped, images: Images, device: torch.device) -> bool:
    """Whether they are what the body gives of some of the images, on whatever device."""
    if not len(images):
        return True
    rows = torch.linspace(0, len(images) - 1, min(ASKED, len(images))).long()
    now = body.eval()(images[rows].x.to(device)).cpu()
    return bool((found[rows] - now).norm() <= 1e-2 * now.norm())


@torch.no_grad()
def _computed(body: Wrapped, images: Images, device: torch.device) -> Tensor:
    body.eval()
    made = torch.empty(len(images), body.features)
    for rows in images.portions(device):
        made[rows] = body(images[rows].x.to(device)).cpu()
    return made
