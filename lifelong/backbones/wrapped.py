"""Modules of others as bodies."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from lifelong.backbones import low_rank
from lifelong.backbones.backbone import Body
from lifelong.backbones.blocks import found
from lifelong.backbones.moving import Moving, note_movers, untouched
from lifelong.backbones.prompts import prompted
from lifelong.backbones.unit import Unit
from lifelong.data.generators import undisturbed


class Wrapped(Body):
    """A module as a body: what it gives is made flat.

    Args:
        module: from images (b, c, h, w) to features, of any shape. Weights of it that ask for no
            gradient are never trained, whatever the method: they become buffers.
        shape: of an image, (c, h, w).
        fixed: whether it keeps its weights, and the statistics of its batch-norm, for ever.
        freeze: so many of its first blocks do.
        blocks: names of modules in it before which it is cut into blocks; null: they are looked
            for, as the stages of a ResNet and the blocks of a vision transformer.
        cache: with `fixed`, the features of all images are computed once and kept on disk.
        lora: rank of the changes of its linear maps that are trained, where all its weights stay
            (Hu et al., 2022); 0 to train the weights.
        lora_alpha: scale of these changes, over the rank; null for the rank.
        prompts: tokens that are learned in each block of a vision transformer, where all its
            weights stay (Jia et al., 2022); 0 for none.

    Attributes:
        shape: of an image, (c, h, w).

    Raises:
        ValueError: the module does not take such images, or is no sequence of blocks where these
            are asked for.

    >>> Wrapped(nn.Conv2d(3, 4, 3), (3, 8, 8)).features
    144
    """

    def __init__(
        self,
        module: nn.Module,
        shape: Sequence[int],
        fixed: bool = False,
        freeze: int = 0,
        blocks: Sequence[str] | None = None,
        cache: bool = False,
        lora: int = 0,
        lora_alpha: float | None = None,
        prompts: int = 0,
    ) -> None:
        super().__init__()
        if (lora or prompts) and fixed:
            raise ValueError(
                f"backbone.lora={lora}, backbone.prompts={prompts}: are trained, and "
                "backbone.fixed=true trains nothing of the body; give either"
            )
        module = low_rank.fixed(module, whole=False)
        if prompts:
            module = prompted(module, list(blocks or found(module)), shape, prompts)
        if lora or lora_alpha is not None:
            module = low_rank.adapted(module, lora, lora_alpha)
        if cache and not fixed:
            raise ValueError(
                "backbone.cache=true: features that are kept are those of a body that keeps its "
                "weights; give backbone.fixed=true"
            )
        self.module, self.fixed, self.kept, self.cache = module, fixed, freeze, cache
        self.shape = tuple(shape)
        self.drawn = not (lora or prompts)
        self.block_names = tuple(f"module.{name}" for name in blocks or ())
        self.features = features_of(module, shape)
        self.frozen = (module,) if fixed else tuple(self.first_blocks(freeze, "backbone.freeze"))
        self.freeze()

    def units(self, make: Callable[[], Body]) -> list[Unit]:
        if self.fixed:
            raise ValueError(
                "backbone.fixed=true: leaves nothing that tasks could share or not; give "
                "backbone.freeze=..., or another strategy"
            )
        return super().units(make)

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:  # (b, c, h, w) -> (b, f)
        if self.cache and x.dim() == 2:  # features already
            return x
        features: Tensor = self.module(x)
        return features.flatten(1)


class Module(Wrapped):
    """A module of one's own as a body.

    Args:
        shape: of an image, (c, h, w).
        module: makes it; is handed `shape` if it has an option of that name.
        fixed: see `Wrapped`.
        freeze: see `Wrapped`.
        blocks: see `Wrapped`.
        cache: see `Wrapped`.
        lora: see `Wrapped`.
        lora_alpha: see `Wrapped`.
        prompts: see `Wrapped`.

    Raises:
        ValueError: what it makes is no module, or does not take such images.

    >>> Module((3, 8, 8), lambda: nn.Conv2d(3, 4, 3)).features
    144
    """

    def __init__(
        self,
        shape: Sequence[int],
        module: Callable[..., nn.Module],
        fixed: bool = False,
        freeze: int = 0,
        blocks: Sequence[str] | None = None,
        cache: bool = False,
        lora: int = 0,
        lora_alpha: float | None = None,
        prompts: int = 0,
    ) -> None:
        asks = "shape" in inspect.signature(module).parameters
        made = module(shape=tuple(shape)) if asks else module()
        if not isinstance(made, nn.Module):
            raise ValueError(f"backbone.module: gives a {type(made).__name__} and no module")
        super().__init__(made, shape, fixed, freeze, blocks, cache, lora, lora_alpha, prompts)


def features_of(module: nn.Module, shape: Sequence[int]) -> int:
    """How many numbers a module gives of an image.

    Args:
        module: is asked for two black images, in tests and in training; then it is as before.
        shape: of an image, (c, h, w).

    Raises:
        ValueError: it does not take them, or gives something else than a row of each.
    """
    training, name = module.training, f"backbone: {type(module).__name__}"
    black = torch.zeros(2, *shape)
    try:
        with torch.no_grad(), undisturbed():
            found: list[Any] = [module.eval()(black)]  # makes what is made at the first call
            moving = Moving(module.modules())
            with untouched(module):
                found.append(module.train()(black))
                note_movers(moving.moved())
    except Exception as error:  # of the module's own
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{name} does not take images {list(shape)} ({reason})") from None
    module.train(training)
    for given, when in zip(found, ("in tests", "in training"), strict=True):
        _check_given(given, f"{name} {when}")
    if found[0].numel() != found[1].numel():
        shapes = " and ".join(str(list(given.shape)) for given in found)
        raise ValueError(f"{name} gives {shapes} of 2 images in tests and in training")
    return int(found[0].numel()) // 2


def _check_given(given: Any, name: str) -> None:
    """Refuses what is no row of numbers for each of two images."""
    if not isinstance(given, Tensor):
        raise ValueError(f"{name} gives a {type(given).__name__}; give one tensor")
    if given.dim() < 2 or len(given) != 2 or not given.numel():
        raise ValueError(
            f"{name} gives {list(given.shape)} of 2 images; give a row of each, such as [2, 64]"
        )
    if given.dtype != torch.float32:
        raise ValueError(
            f"{name} gives {given.dtype}; give torch.float32, and others by trainer.precision="
        )
