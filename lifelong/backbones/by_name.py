"""Networks of timm and torchvision by their names, without their output layers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from lifelong.backbones.wrapped import Wrapped
from lifelong.storage import files

State = dict[str, Any]


class Timm(Wrapped):
    """A network of timm (PyTorch Image Models), by its name.

    Args:
        shape: (c, h, w) of an image; networks for images of one size are built for this one.
        name: such as `resnet26`, `vit_tiny_patch16_224`, `convnext_atto`.
        pretrained: weights to begin with: `false` for new ones, `true` for timm's, which are
            fetched once, or a file of a state dict (.safetensors, .pth).
        fixed: see `Wrapped`.
        options: further arguments of the network, such as `{drop_path_rate: 0.1}`.

    Raises:
        ValueError: timm is not installed; no such network; weights that cannot be had or do not
            fit; images that it does not take.

    >>> Timm((3, 32, 32), "test_resnet").features
    96
    """

    not_loaded: ClassVar[dict[str, Any]] = {"pretrained": False}

    def __init__(
        self,
        shape: Sequence[int],
        name: str,
        pretrained: bool | str = False,
        fixed: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            import timm
        except ImportError:
            raise ValueError("backbone=timm: needs timm; pip install 'lifelong[timm]'") from None
        channels, height, width = shape
        if not timm.is_model(name):
            raise ValueError(f"backbone.name={name}: {_told('timm', name, timm.list_models())}")
        given: dict[str, Any] = {"num_classes": 0, "in_chans": channels, **(options or {})}
        usual = timm.get_pretrained_cfg(name)
        if usual is not None and usual.fixed_input_size:
            given.setdefault("img_size", (height, width))
        state = read_state(pretrained) if isinstance(pretrained, str) else None
        try:
            module = timm.create_model(name, pretrained=pretrained is True, **given)
            if state is not None:
                _load(module, state)
        except Exception as error:  # of many kinds: no network, arguments, weights
            raise _failed(name, pretrained, error) from None
        super().__init__(module, shape, fixed)


class Torchvision(Wrapped):
    """A network of torchvision, by its name; its last linear map is left out.

    Args:
        shape: (c, h, w) of an image, with three channels.
        name: such as `resnet18`, `mobilenet_v3_small`, `swin_t`.
        pretrained: see `Timm`; `true` for torchvision's newest.
        fixed: see `Wrapped`.
        options: further arguments of the network, such as `{image_size: 32}` of `vit_b_16`.

    Raises:
        ValueError: see `Timm`.

    >>> Torchvision((3, 32, 32), "mobilenet_v3_small").features
    1024
    """

    not_loaded: ClassVar[dict[str, Any]] = {"pretrained": False}

    def __init__(
        self,
        shape: Sequence[int],
        name: str,
        pretrained: bool | str = False,
        fixed: bool = False,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        from torchvision import models

        known = models.list_models(module=models)
        if name not in known:
            raise ValueError(f"backbone.name={name}: {_told('torchvision', name, known)}")
        try:
            weights = models.get_model_weights(name).DEFAULT if pretrained is True else None
            module = models.get_model(name, weights=weights, **(options or {}))
            output = [n for n, part in module.named_modules() if isinstance(part, nn.Linear)][-1]
            module.set_submodule(output, nn.Identity())
            if isinstance(pretrained, str):
                state = read_state(pretrained)
                kept = {n: v for n, v in state.items() if not n.startswith(f"{output}.")}
                module.load_state_dict(kept)
        except Exception as error:  # of many kinds: no network, arguments, weights
            raise _failed(name, pretrained, error) from None
        super().__init__(module, shape, fixed)


def _load(module: Any, state: State) -> None:
    """Gives a network of timm the weights of a file, as timm itself converts them."""
    convert = getattr(sys.modules[type(module).__module__], "checkpoint_filter_fn", None)
    state = state if convert is None else convert(state, module)
    outputs = module.default_cfg.get("classifier") or ()
    outputs = (outputs,) if isinstance(outputs, str) else tuple(outputs)
    ends = tuple(f"{output}." for output in outputs)
    module.load_state_dict({n: v for n, v in state.items() if not n.startswith(ends)})


def read_state(file: str) -> State:
    """The tensors in a file of a state dict, by name; nothing else in it is read.

    Raises:
        ValueError: no such file, or one of another kind.
    """
    path = Path(file).expanduser()
    if not path.is_file():
        raise ValueError(f"backbone.pretrained={file}: no such file; give one, or true or false")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        found = files.load(path)
    except Exception as error:  # of many kinds, for damaged and foreign files
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(
            f"backbone.pretrained={file}: is no readable file of a state dict ({reason})"
        ) from None
    if isinstance(found, dict) and isinstance(found.get("state_dict"), dict):
        found = found["state_dict"]
    if not isinstance(found, dict):
        raise ValueError(f"backbone.pretrained={file}: holds no state dict")
    return found


def _failed(name: str, pretrained: bool | str, error: Exception) -> ValueError:
    if str(error).startswith("backbone."):
        return ValueError(str(error))
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(pretrained, str):
        return ValueError(f"backbone.pretrained={pretrained}: does not fit {name} ({reason})")
    if pretrained:
        return ValueError(
            f"backbone.pretrained=true: the weights of {name} could not be had ({reason}); give a "
            "file of a state dict, or false for new weights"
        )
    return ValueError(f"backbone.name={name}: cannot be built as asked ({reason})")


def _told(library: str, name: str, known: Sequence[str]) -> str:
    near = get_close_matches(name, known, 3, 0.5)
    return f"{library} has no such network; give {' or '.join(near) or 'another'}"
