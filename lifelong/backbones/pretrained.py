"""Bodies of torchvision, with weights that were trained on ImageNet or with none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from lifelong.backbones.backbone import Body
from lifelong.storage import files

OUTPUT = ("fc.", "classifier.6.")  # names of the output layer, which the body does not have


class ResNet18(Body):
    """ResNet-18 (He et al. 2016) without its output layer; all layers are trained.

    Args:
        shape: (c, h, w) of an image, with three channels and at least 32 x 32 pixels.
        weights: `imagenet` (IMAGENET1K_V1, fetched by torchvision once), `none` (as torchvision
            draws them), or a file of a state dict.

    Raises:
        ValueError: images of another kind; weights that cannot be had or do not fit.

    >>> ResNet18((3, 32, 32), weights="none").features
    512
    """

    not_loaded: ClassVar[dict[str, str]] = {"weights": "none"}

    def __init__(self, shape: Sequence[int], weights: str = "imagenet") -> None:
        from torchvision.models import ResNet18_Weights, resnet18

        super().__init__()
        check_shape(shape, 32)
        self.body = resnet18()
        self.features = self.body.fc.in_features
        self.body.fc = nn.Identity()
        self.drawn = weights == "none"
        load(self.body, weights, ResNet18_Weights.IMAGENET1K_V1)

    def forward(self, x: Tensor) -> Tensor:  # (b, c, h, w) -> (b, f)
        features: Tensor = self.body(x)
        return features


class AlexNet(Body):
    """AlexNet (torchvision's, Krizhevsky 2014) without its output layer; features are 4096.

    Args:
        shape: (c, h, w) of an image, with three channels and at least 63 x 63 pixels.
        weights: see `ResNet18`.
        freeze_layers: so many of the five convolutions, input first, keep their weights for ever.

    Raises:
        ValueError: images of another kind; weights that cannot be had or do not fit.

    >>> body = AlexNet((3, 64, 64), weights="none", freeze_layers=5)
    >>> body.features
    4096
    """

    not_loaded: ClassVar[dict[str, str]] = {"weights": "none"}

    def __init__(
        self, shape: Sequence[int], weights: str = "imagenet", freeze_layers: int = 0
    ) -> None:
        from torchvision.models import AlexNet_Weights, alexnet

        super().__init__()
        check_shape(shape, 63)
        self.body = alexnet()
        self.features = self.body.classifier[6].in_features
        self.body.classifier[6] = nn.Identity()
        self.drawn = weights == "none"
        load(self.body, weights, AlexNet_Weights.IMAGENET1K_V1)
        convolutions = [layer for layer in self.body.features if isinstance(layer, nn.Conv2d)]
        if not 0 <= freeze_layers <= len(convolutions):
            raise ValueError(
                f"backbone.freeze_layers={freeze_layers}: give a number from 0 to "
                f"{len(convolutions)}, the convolutions of AlexNet"
            )
        self.frozen = tuple(convolutions[:freeze_layers])
        self.freeze()

    def forward(self, x: Tensor) -> Tensor:  # (b, c, h, w) -> (b, f)
        features: Tensor = self.body(x)
        return features


def check_shape(shape: Sequence[int], least: int) -> None:
    """Refuses images that a network for ImageNet cannot take."""
    if shape[0] != 3 or min(shape[1:]) < least:
        raise ValueError(
            f"data.shape={list(shape)}: this backbone needs three channels and at least {least} x "
            f"{least} pixels"
        )


def load(body: nn.Module, weights: str, published: Any) -> None:
    """Loads the weights that the option `backbone.weights` names.

    Args:
        body: takes them.
        weights: `imagenet`, `none` or a file.
        published: torchvision's own weights.

    Raises:
        ValueError: they cannot be had, or do not fit.
    """
    if weights == "none":
        return
    if weights == "imagenet":
        what = "the published weights could not be fetched"
        state = _read(
            weights, what, lambda: published.get_state_dict(progress=True, check_hash=True)
        )
    else:
        path = Path(weights).expanduser()
        state = _read(weights, "not a readable file of a state dict", lambda: files.load(path))
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]
    try:
        kept = {name: value for name, value in state.items() if not name.startswith(OUTPUT)}
        body.load_state_dict(kept)
    except (AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"backbone.weights={weights}: does not fit: {reason}") from None


def _read(weights: str, what: str, read: Callable[[], Any]) -> Any:
    try:
        return read()
    except Exception as error:  # of many kinds; the user is told what to do instead
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(
            f"backbone.weights={weights}: {what} ({reason}); give a file of a state dict, or none "
            "for new weights"
        ) from None
