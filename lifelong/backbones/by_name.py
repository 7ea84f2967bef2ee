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


class Named(Wrapped):
    """A network of a library, by its name; a subclass says how it is made.

    Args:
        shape: (c, h, w) of an image.
        name: of the network.
        pretrained: weights to begin with: `false` for new ones, `true` for the library's, which are
            fetched once, or a file of a state dict (.safetensors, .pth).
        fixed: see `Wrapped`.
        freeze: see `Wrapped`.
        blocks: see `Wrapped`.
        cache: see `Wrapped`.
        lora: see `Wrapped`.
        lora_alpha: see `Wrapped`.
        prompts: see `Wrapped`.
        options: further arguments of the network, such as `{drop_path_rate: 0.1}`.

    Raises:
        ValueError: no such network; weights that cannot be had or do not fit; images that it does
            not take.
    """

    not_loaded: ClassVar[dict[str, Any]] = {"pretrained": False}

    def __init__(
        self,
        shape: Sequence[int],
        name: str,
        pretrained: bool | str = False,
        fixed: bool = False,
        freeze: int = 0,
        blocks: Sequence[str] | None = None,
        cache: bool = False,
        lora: int = 0,
        lora_alpha: float | None = None,
        prompts: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        known = self.known()
        if name.partition(".")[0] not in known:  # behind a dot stands which of timm's weights
            near = " or ".join(get_close_matches(name, known, 3, 0.5)) or "another"
            library = type(self).__name__.lower()
            raise ValueError(f"backbone.name={name}: {library} has no such network; give {near}")
        state = read_state(pretrained) if isinstance(pretrained, str) else None
        try:
            module = self.made(tuple(shape), name, pretrained is True, state, dict(options or {}))
        except Exception as error:  # of many kinds: no network, arguments, weights
            raise _failed(name, pretrained, error) from None
        super().__init__(module, shape, fixed, freeze, blocks, cache, lora, lora_alpha, prompts)
        self.drawn = self.drawn and pretrained is False

    @staticmethod
    def known() -> Sequence[str]:
        """Names of the library's networks."""
        raise NotImplementedError

    @staticmethod
    def made(
        shape: tuple[int, ...], name: str, fetch: bool, state: State | None, given: dict[str, Any]
    ) -> nn.Module:
        """The network without its output layer.

        Args:
            shape: see above.
            name: see above.
            fetch: whether it has the library's weights.
            state: the weights of a file; None for none.
            given: further arguments.
        """
        raise NotImplementedError


class Timm(Named):
    """A network of timm (PyTorch Image Models), by its name; see `Named`.

    Networks for images of one size are built for the stream's.

    Raises:
        ValueError: see `Named`; timm is not installed.

    >>> Timm((3, 32, 32), "test_resnet").features
    96
    """

    @staticmethod
    def known() -> Sequence[str]:
        try:
            import timm
        except ImportError:
            raise ValueError("backbone=timm: needs timm; pip install 'lifelong[timm]'") from None
        return timm.list_models()

    @staticmethod
    def made(
        shape: tuple[int, ...], name: str, fetch: bool, state: State | None, given: dict[str, Any]
    ) -> nn.Module:
        import timm

        usual = timm.get_pretrained_cfg(name)
        if usual is not None and usual.fixed_input_size:
            given.setdefault("img_size", shape[1:])
        options = {"num_classes": 0, "in_chans": shape[0], **given}
        module: nn.Module = timm.create_model(name, pretrained=fetch, **options)
        if state is not None:
            _load(module, state)
        return module


class Torchvision(Named):
    """A network of torchvision, by its name, without its last linear map; see `Named`.

    >>> Torchvision((3, 32, 32), "mobilenet_v3_small").features
    1024
    """

    @staticmethod
    def known() -> Sequence[str]:
        from torchvision import models

        return models.list_models(module=models)  # type: ignore[no-any-return]

    @staticmethod
    def made(
        shape: tuple[int, ...], name: str, fetch: bool, state: State | None, given: dict[str, Any]
    ) -> nn.Module:
        from torchvision import models

        weights = models.get_model_weights(name).DEFAULT if fetch else None
        module: nn.Module = models.get_model(name, weights=weights, **given)
        output = [n for n, part in module.named_modules() if isinstance(part, nn.Linear)][-1]
        module.set_submodule(output, nn.Identity())
        if state is not None:
            kept = {n: v for n, v in state.items() if not n.startswith(f"{output}.")}
            module.load_state_dict(kept)
        return module


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
    reason = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(pretrained, str):
        return ValueError(f"backbone.pretrained={pretrained}: does not fit {name} ({reason})")
    if pretrained:
        return ValueError(
            f"backbone.pretrained=true: the weights of {name} could not be had ({reason}); give a "
            "file of a state dict, or false for new weights"
        )
    return ValueError(f"backbone.name={name}: cannot be built as asked ({reason})")
