"""State dicts of other programs: read without running anything, and named as ours are.

Pruned weights come as `torch.nn.utils.prune` leaves them: `x.weight_orig` and `x.weight_mask` in
place of `x.weight`. The names of the pre-activation ResNet-18 of Lifelong Tickets' released program
are known; they map one to one:

    conv1                 body.stem
    layer2.0.bn1          body.blocks.2.norm1 (likewise bn2, conv1, conv2, shortcut.0)
    linear_main.3         heads.all.3.1
    linear.3              auxiliary.all.3.1
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lifelong.storage.files import load, load_error

ORIGINAL, MASK = "_orig", "_mask"
BLOCKS = 2  # in a stage of the ResNet-18
_INNER = {"bn1": "norm1", "bn2": "norm2", "shortcut.0": "shortcut"}


class _Unread:
    """Stands for whatever else a file holds, such as an optimizer."""

    def __new__(cls, *_: Any, **__: Any) -> _Unread:
        return super().__new__(cls)

    def __setstate__(self, state: Any) -> None:
        pass


def _mapping(*_: Any) -> dict[Any, Any]:
    """Stands for a `defaultdict`, which optimizers hold."""
    return {}


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a file that `torch.save` wrote: a state dict, or one under `state_dict`.

    Nothing but tensors and plain values is built; other objects are passed over.

    Raises:
        ValueError: no such file, or no state dict in it.
    """
    place = Path(path).expanduser()
    try:
        content = _plain(place)
        found = content.get("state_dict", content)
        tensors = {
            str(name).removeprefix("module."): value
            for name, value in found.items()
            if isinstance(value, Tensor)
        }
    except Exception as error:  # of many kinds, for a damaged or foreign file
        raise ValueError(f"{path}: not a file of weights ({load_error(error)})") from None
    if not tensors:
        raise ValueError(f"{path}: holds no tensors")
    return tensors


def _plain(path: Path) -> Any:
    names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    stand_ins: list[Any] = [
        (_mapping if name == "collections.defaultdict" else _Unread, name) for name in names
    ]
    with torch.serialization.safe_globals(stand_ins):
        return load(path)


def parted(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weights and masks (bool) of a state dict, by our names; weights are not masked.

    Names that are not those of the released program stay as they are.
    """
    weights, masks = {}, {}
    for name, value in state.items():
        if name.endswith(f"weight{MASK}"):
            masks[ours(name.removesuffix(MASK))] = value != 0
        else:
            weights[ours(name.removesuffix(ORIGINAL))] = value
    return weights, masks


def joined(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The reverse of `parted`, in the names given: masks are float."""
    state: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name in masks:
            state[f"{name}{ORIGINAL}"] = value
            state[f"{name}{MASK}"] = masks[name].to(value.dtype)
        else:
            state[name] = value
    return state


def ours(name: str) -> str:
    """Our name of a tensor of the released program; any other as it is.

    >>> ours("layer2.0.shortcut.0.weight")
    'body.blocks.2.shortcut.weight'
    """
    if match := re.fullmatch(r"conv1\.(\w+)", name):
        return f"body.stem.{match[1]}"
    if match := re.fullmatch(r"layer(\d)\.(\d)\.(.+)\.(\w+)", name):
        stage, block, inner, kind = match.groups()
        number = BLOCKS * (int(stage) - 1) + int(block)
        return f"body.blocks.{number}.{_INNER.get(inner, inner)}.{kind}"
    if match := re.fullmatch(r"linear(_main)?\.(\d+)\.(\w+)", name):
        branch = "heads" if match[1] else "auxiliary"
        return f"{branch}.all.{match[2]}.1.{match[3]}"
    return name


def authors(name: str) -> str:
    """The reverse of `ours`.

    >>> authors("heads.all.3.1.bias")
    'linear_main.3.bias'
    """
    if match := re.fullmatch(r"body\.stem\.(\w+)", name):
        return f"conv1.{match[1]}"
    if match := re.fullmatch(r"body\.blocks\.(\d+)\.(\w+)\.(\w+)", name):
        stage, block = divmod(int(match[1]), BLOCKS)
        outer = {inner: theirs for theirs, inner in _INNER.items()}
        return f"layer{stage + 1}.{block}.{outer.get(match[2], match[2])}.{match[3]}"
    if match := re.fullmatch(r"(heads|auxiliary)\.all\.(\d+)\.1\.(\w+)", name):
        branch = "linear_main" if match[1] == "heads" else "linear"
        return f"{branch}.{match[2]}.{match[3]}"
    return name
