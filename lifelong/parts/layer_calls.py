"""Where parameters are used: the inputs and outputs of convolutions and linear maps.

A convolution or linear map z = W * u has, for one image, the gradient delta u^T with delta that of
z; of a batch in evaluation mode, one backward pass to the z of all layers gives every image's
delta.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

Named = Mapping[str, nn.Parameter]
Size = Literal["absolute", "square"]
# Bytes for a layer's inputs and gradients of several images at once: what the caches hold.
MEMORY = {"cpu": 2**21}
MEMORY_OF_ACCELERATORS = 2**28


@dataclass
class Call:
    """A use of parameters: z of the input u.

    Attributes:
        function: `linear` or `conv2d`.
        weight: name of the weight, or None if it is not asked for.
        bias: likewise.
        rows: of the weight and the bias, where only some are used.
        u: (n, i) or (n, c, h, w).
        z: (n, o) or (n, o, h, w).
        kernel: (height, width) of a convolution.
        options: stride, padding and dilation of a convolution.
    """

    function: str
    weight: str | None
    bias: str | None
    rows: slice
    u: Tensor
    z: Tensor
    kernel: tuple[int, ...]
    options: dict[str, Any]

    def names(self) -> list[str]:
        return [name for name in (self.weight, self.bias) if name is not None]

    def add(self, totals: dict[str, Tensor], delta: Tensor, size: Size) -> None:
        """Adds the sizes of all images' gradients, delta being that in z."""
        resize = torch.abs if size == "absolute" else torch.square
        if self.bias is not None:
            summed = delta if delta.dim() == 2 else delta.flatten(2).sum(2)
            totals[self.bias][self.rows] += resize(summed).sum(0)
        if self.weight is None:
            return
        total = totals[self.weight]
        if self.function == "linear":  # the size of an outer product is that of its factors
            total[self.rows] += resize(delta).T @ resize(self.u)
            return
        _, outputs, *positions = delta.shape
        of_image = 4 * total[0].numel() * (outputs + math.prod(positions))  # bytes
        step = max(1, MEMORY.get(delta.device.type, MEMORY_OF_ACCELERATORS) // of_image)
        entries = math.prod(positions) * total[0].numel()  # of what is seen of an image
        space = delta.new_empty(min(step, len(delta)) * entries)  # one for all: new memory is slow
        for u, d in zip(self.u.split(step), delta.split(step), strict=True):
            strided = windows(u, self.kernel, **self.options)
            seen = space[: len(d) * entries].view_as(strided).copy_(strided)
            per_position = d.permute(0, 2, 3, 1).flatten(1, 2)  # (n, positions, o)
            gradients = per_position.transpose(1, 2) @ seen.flatten(3).flatten(1, 2)
            summed = resize(gradients).sum(0).view(outputs, *self.kernel, -1)
            total[self.rows] += summed.permute(0, 3, 1, 2)


def windows(
    u: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    dilation: Sequence[int],
) -> Tensor:  # fmt: skip
    """What a convolution sees at each position, as a view.

    (n, c, h, w) -> (n, rows, columns, kernel height, kernel width, c). To copy it is faster than
    `unfold`, because the channels of a pixel lie together.
    """
    padded = F.pad(u, (padding[1], padding[1], padding[0], padding[0])).permute(0, 2, 3, 1)
    padded = padded.contiguous()  # (n, h, w, c)
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    sizes = [
        (side - r - 1) // s + 1 for side, r, s in zip(padded.shape[1:3], reach, stride, strict=True)
    ]
    image, row, column, _ = padded.stride()
    return padded.as_strided(
        (len(u), *sizes, *kernel, u.shape[1]),
        (image, stride[0] * row, stride[1] * column, dilation[0] * row, dilation[1] * column, 1),
    )


class LayerTracer(TorchFunctionMode):
    """Notes where parameters are used as weight or bias of a convolution or a linear map."""

    def __init__(self, named: Named) -> None:
        super().__init__()
        self.names = {id(p): name for name, p in named.items()}
        self.made: list[Call] = []
        self.elsewhere: set[str] = set()  # parameters that are used in any other way, too

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        out = func(*args, **given)
        call = self._call(func, out, args, given) if func in (F.linear, F.conv2d) else None
        known = set() if call is None else set(call.names())
        if not self._is_view(out):
            self.elsewhere |= set(self._owners([args, given])) - known
        if call is None:
            return out
        self.made.append(call)
        return out.clone()  # what changes it in place leaves z alone

    def _owner(self, value: Any) -> str | None:
        """Name of the parameter that a value is, or is a view of."""
        if not isinstance(value, Tensor):
            return None
        base = value if value._base is None else value._base
        return self.names.get(id(base))

    def _owners(self, given: Any) -> Iterator[str]:
        """The parameters that are among the arguments of a function, at any depth."""
        if isinstance(given, list | tuple):
            for value in given:
                yield from self._owners(value)
        elif isinstance(given, dict):
            yield from self._owners(list(given.values()))
        elif (name := self._owner(given)) is not None:
            yield name

    def _is_view(self, out: Any) -> bool:
        """Whether nothing was computed: a property, or a view, whose uses are noted themselves."""
        values = out if isinstance(out, list | tuple) else [out]
        return all(not isinstance(v, Tensor) or self._owner(v) is not None for v in values)

    def _call(
        self, func: Any, z: Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Call | None:
        keys = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        given = dict(zip(keys, args, strict=False)) | kwargs
        weight, rows = self._name(given["weight"])
        bias, bias_rows = self._name(given.get("bias"))
        linear = func is F.linear
        plain = z.dim() == 2 if linear else given.get("groups", 1) == 1
        if (weight, bias) == (None, None) or not plain or isinstance(given.get("padding"), str):
            return None
        options = {
            name: _pair(given.get(name, default))
            for name, default in (("stride", 1), ("padding", 0), ("dilation", 1))
        }
        return Call(
            "linear" if linear else "conv2d",
            weight,
            bias,
            rows if weight is not None else bias_rows,
            given["input"].detach(),
            z,
            tuple(given["weight"].shape[2:]),
            {} if linear else options,
        )

    def _name(self, used: Tensor | None) -> tuple[str | None, slice]:
        """Name of the parameter that is used, whole or some rows of it."""
        if used is None:
            return None, slice(None)
        if id(used) in self.names:
            return self.names[id(used)], slice(None)
        base = used._base
        if base is None or id(base) not in self.names or used.stride() != base.stride():
            return None, slice(None)
        first = (used.storage_offset() - base.storage_offset()) // max(base.stride(0), 1)
        if used.shape[1:] != base.shape[1:]:
            return None, slice(None)
        return self.names[id(base)], slice(first, first + len(used))

    def used_once(self) -> list[Call]:
        """The calls whose parameters have no other use, as such or in parts."""
        seen = Counter(name for call in self.made for name in call.names())
        return [
            call for call in self.made
            if all(seen[n] == 1 and n not in self.elsewhere for n in call.names())
        ]  # fmt: skip

    def covered(self, once: list[Call]) -> set[str]:
        """Parameters that such calls take care of."""
        return {name for call in once for name in call.names()}


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else value
    return first, second
