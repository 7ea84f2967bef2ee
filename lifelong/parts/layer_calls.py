"""Where parameters are used: by layers, norms, sums and products; what each image gives to them.

A convolution or linear map z = W * u has, for one image, the gradient delta u^T with delta that of
z, summed over the positions; a norm z = w u + b the sums of delta u and of delta. Of a batch in
evaluation mode one backward pass to all z gives every image's delta.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
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
        function: `linear`, `conv2d`, or `scaled`: z = weight u + bias, entry by entry.
        weight: name of the weight, or None if it is not asked for.
        bias: likewise.
        rows: of the weight and the bias of a layer, where only some are used.
        u: (n, ..., i) or (n, c, h, w); of `scaled` as z.
        z: (n, ..., o) or (n, o, h, w).
        kernel: (height, width) of a convolution.
        options: stride, padding and dilation of a convolution.
        spread: shape in which weight and bias of `scaled` act, with as many dimensions as z.
        images: the dimension of u and z that counts images.
    """

    function: str
    weight: str | None
    bias: str | None
    rows: slice
    u: Tensor
    z: Tensor
    kernel: tuple[int, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    spread: tuple[int, ...] = ()
    images: int = 0

    def names(self) -> list[str]:
        return [name for name in (self.weight, self.bias) if name is not None]

    @property
    def is_layer(self) -> bool:
        return self.function != "scaled"

    def add(self, totals: dict[str, Tensor], delta: Tensor, size: Size) -> None:
        """Adds the sizes of all images' gradients, delta being that in z."""
        resize = torch.abs if size == "absolute" else torch.square
        delta, u = delta.movedim(self.images, 0), self.u.movedim(self.images, 0)
        if self.function == "scaled":
            for name in self.names():
                of_image = self._gathered(delta * u if name == self.weight else delta)
                totals[name] += resize(of_image).sum(0).view_as(totals[name])
            return
        if self.bias is not None:
            totals[self.bias][self.rows] += resize(_over_positions(self.function, delta)).sum(0)
        if self.weight is not None:
            add = _add_linear if self.function == "linear" else _add_convolution
            add(self, totals[self.weight][self.rows], u, delta, resize)

    def _gathered(self, gradient: Tensor) -> Tensor:
        """The sum over the entries of an image on which one parameter acts."""
        shape = self.spread[: self.images] + self.spread[self.images + 1 :]
        over = [place + 1 for place, length in enumerate(shape) if length == 1]
        return gradient.sum(over, keepdim=True) if over else gradient

    def counts_images(self, few: Call, images: int, fewer: int) -> bool:
        """Finds the dimension that counts images: it alone is another where there are fewer."""
        shapes = (self.z.shape, few.z.shape)
        if len(shapes[0]) != len(shapes[1]) or self.names() != few.names():
            return False
        differ = [place for place, (a, b) in enumerate(zip(*shapes, strict=True)) if a != b]
        if len(differ) != 1 or [shape[differ[0]] for shape in shapes] != [images, fewer]:
            return False
        self.images = differ[0]
        last = {"linear": self.z.dim() - 1, "conv2d": 1}.get(self.function, self.z.dim())
        return self.images < last and (self.is_layer or self.spread[self.images] == 1)


Resize = Callable[..., Tensor]


def _over_positions(function: str, delta: Tensor) -> Tensor:
    """Of each image the sum over the positions of its map, (n, o)."""
    if delta.dim() == 2:
        return delta
    return delta.flatten(1, -2).sum(1) if function == "linear" else delta.flatten(2).sum(2)


def _add_linear(call: Call, total: Tensor, u: Tensor, delta: Tensor, resize: Resize) -> None:
    if delta.dim() == 2:  # the size of an outer product is that of its factors
        total += resize(delta).T @ resize(u)
        return
    step = _at_once(4 * total.numel(), delta)
    parts = (whole.flatten(1, -2).split(step) for whole in (u, delta))
    for seen, d in zip(*parts, strict=True):  # (n, positions, i), (n, positions, o)
        gradients = d.transpose(1, 2) @ seen
        total += resize(gradients, out=gradients).sum(0)


def _add_convolution(call: Call, total: Tensor, u: Tensor, delta: Tensor, resize: Resize) -> None:
    _, outputs, *positions = delta.shape
    entries = math.prod(positions) * total[0].numel()  # of what is seen of an image
    step = _at_once(4 * (total.numel() + entries), delta)
    space = delta.new_empty(min(step, len(delta)) * entries)  # one for all: new memory is slow
    for some, d in zip(u.split(step), delta.split(step), strict=True):
        strided = windows(some, call.kernel, **call.options)
        seen = space[: len(d) * entries].view_as(strided).copy_(strided)
        per_position = d.permute(0, 2, 3, 1).flatten(1, 2)  # (n, positions, o)
        gradients = per_position.transpose(1, 2) @ seen.flatten(3).flatten(1, 2)
        summed = resize(gradients, out=gradients).sum(0).view(outputs, *call.kernel, -1)
        total += summed.permute(0, 3, 1, 2)


def _at_once(of_image: int, delta: Tensor) -> int:
    """Images that are computed together, by the bytes that one takes."""
    return max(1, MEMORY.get(delta.device.type, MEMORY_OF_ACCELERATORS) // of_image)


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
    """Notes where parameters are used.

    Norms, sums and products with a parameter, and its copies for each image are `scaled` calls.
    """

    def __init__(self, named: Named) -> None:
        super().__init__()
        self.names = {id(p): name for name, p in named.items()}
        self.made: list[Call] = []
        self.elsewhere: set[str] = set()  # parameters that are used in any other way, too

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        if func is F.multi_head_attention_forward and _is_plain(asked := _bound(func, args, given)):
            with self:  # its two linear maps are seen by themselves
                return _attention(asked), None
        out = func(*args, **given)
        call = self._call(func, out, args, given)
        known = set() if call is None else set(call.names())
        if call is not None or not self._is_view(out):
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

    def _call(self, func: Any, z: Any, args: Sequence[Any], given: dict[str, Any]) -> Call | None:
        if func in (F.linear, F.conv2d):
            return self._layer(func, z, args, given)
        if func in NORMS:
            return self._norm(func, z, _bound(func, args, given))
        if (func in SUMS or func in PRODUCTS) and not given:  # such as a factor of the summand
            return self._with_one(func, z, args)
        name = self.names.get(id(args[0])) if func in COPIES else None
        if name is None:
            return None
        return Call("scaled", None, name, slice(None), z.detach(), z, spread=_spread(args[0], z))

    def _layer(
        self, func: Any, z: Tensor, args: Sequence[Any], kwargs: dict[str, Any]
    ) -> Call | None:
        keys = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
        given = dict(zip(keys, args, strict=False)) | kwargs
        weight, rows = self._name(given["weight"])
        bias, bias_rows = self._name(given.get("bias"))
        linear = func is F.linear
        plain = z.dim() >= 2 if linear else z.dim() == 4 and given.get("groups", 1) == 1
        if (weight, bias) == (None, None) or not plain:
            return None
        if None not in (weight, bias) and rows != bias_rows:
            return None
        if isinstance(given.get("padding"), str):
            given |= _padded(given)
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

    def _norm(self, func: Any, z: Tensor, given: dict[str, Any]) -> Call | None:
        weight, bias = (self.names.get(id(given[name])) for name in ("weight", "bias"))
        if (weight, bias) == (None, None) or given.get("training"):
            return None
        shape = tuple(given["normalized_shape"]) if func is F.layer_norm else (z.shape[1],)
        behind = 0 if func is F.layer_norm else z.dim() - 2
        with torch.no_grad():
            normalized = func(**{**given, "weight": None, "bias": None})
        before = (1,) * (z.dim() - len(shape) - behind)
        spread = (*before, *shape, *(1,) * behind)
        return Call("scaled", weight, bias, slice(None), normalized, z, spread=spread)

    def _with_one(self, func: Any, z: Tensor, args: Sequence[Any]) -> Call | None:
        """Of a sum or product of a parameter and something else."""
        names = [self.names.get(id(value)) for value in args]
        if len(args) != 2 or names.count(None) != 1 or not all(torch.is_tensor(v) for v in args):
            return None
        place = 0 if names[1] is None else 1
        spread = _spread(args[place], z)
        if func in SUMS:
            return Call("scaled", None, names[place], slice(None), z.detach(), z, spread=spread)
        u = args[1 - place].detach().expand(z.shape)
        return Call("scaled", names[place], None, slice(None), u, z, spread=spread)

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

    def used_once(self, few: LayerTracer, images: int, fewer: int) -> list[Call]:
        """The calls with a dimension that counts images, whose parameters have no other use.

        Args:
            few: saw the same network with another number of images.
            images: seen here.
            fewer: seen there.
        """
        if len(self.made) != len(few.made):
            return []
        seen = Counter(name for call in self.made for name in call.names())
        return [
            call for call, other in zip(self.made, few.made, strict=True)
            if all(seen[n] == 1 and n not in self.elsewhere for n in call.names())
            and call.counts_images(other, images, fewer)
        ]  # fmt: skip

    def covered(self, once: list[Call]) -> set[str]:
        """Parameters that such calls take care of."""
        return {name for call in once for name in call.names()}


# Functions in which parameters act entry by entry.
NORMS = (F.layer_norm, F.batch_norm)
SUMS = (torch.add, Tensor.add, Tensor.__add__, Tensor.__radd__)
PRODUCTS = (torch.mul, Tensor.mul, Tensor.__mul__, Tensor.__rmul__)
COPIES = (Tensor.expand, Tensor.expand_as)


def _spread(parameter: Tensor, z: Tensor) -> tuple[int, ...]:
    """The shape of a parameter that is broadcast to z."""
    return (1,) * (z.dim() - parameter.dim()) + tuple(parameter.shape)


def _bound(func: Any, args: Sequence[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """All arguments of a function of PyTorch's in Python, by name."""
    bound = signature(func).bind(*args, **given)
    bound.apply_defaults()
    return bound.arguments


def _is_plain(asked: Mapping[str, Any]) -> bool:
    """Whether it is self-attention of one projection in evaluation, without masks."""
    unusual = ("bias_k", "bias_v", "static_k", "static_v", "add_zero_attn", "key_padding_mask",
               "attn_mask", "is_causal", "use_separate_proj_weight", "need_weights")  # fmt: skip
    same = asked["query"] is asked["key"] is asked["value"] and asked["query"].dim() == 3
    drops = asked["training"] and asked["dropout_p"]
    return (
        same
        and not drops
        and not any(asked[name] is not None and asked[name] is not False for name in unusual)
    )


def _attention(asked: Mapping[str, Any]) -> Tensor:
    """As `F.multi_head_attention_forward` of what is plain, see above; (l, n, e)."""
    projected = F.linear(asked["query"], asked["in_proj_weight"], asked["in_proj_bias"])
    parts = projected.chunk(3, -1)  # (l, n, e) each
    heads = (part.unflatten(-1, (asked["num_heads"], -1)).permute(1, 2, 0, 3) for part in parts)
    found = F.scaled_dot_product_attention(*heads).permute(2, 0, 1, 3).flatten(2)
    return F.linear(found, asked["out_proj_weight"], asked["out_proj_bias"])


def _padded(given: Mapping[str, Any]) -> dict[str, Any]:
    """The input of a convolution whose padding is called `same` or `valid`, padded; then none."""
    x, sides = given["input"], list[int]()
    if given["padding"] == "same":
        reach = zip(_pair(given.get("dilation", 1)), given["weight"].shape[2:], strict=True)
        for whole in [d * (k - 1) for d, k in reach][::-1]:
            sides += [whole // 2, whole - whole // 2]  # of an odd number the end has more
    return {"input": F.pad(x, sides) if sides else x, "padding": 0}


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else value
    return first, second
