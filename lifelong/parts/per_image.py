"""Gradients of single images, computed for many images at once.

A convolution or linear map z = W * u has, for one image, the gradient delta u^T with delta that of
z; of a batch in evaluation mode, one backward pass to the z of all layers gives every image's
delta. A parameter that is not used in that way, or that is used in any other way too, is
differentiated vectorised over the images.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.overrides import TorchFunctionMode

from lifelong.data import Batch
from lifelong.networks import TaskNetwork

Named = Mapping[str, nn.Parameter]
Objective = Callable[[Tensor, Tensor], Tensor]  # scores (b, k), labels (b,) -> (b,)
Size = Literal["absolute", "square"]

CHUNK = 25  # images whose gradients are held at once where they are differentiated one by one
# Bytes for a layer's inputs and gradients of several images at once: what the caches hold.
MEMORY = {"cpu": 2**21}
MEMORY_OF_ACCELERATORS = 2**28


def cross_entropy(scores: Tensor, y: Tensor) -> Tensor:
    """Of each image, (b,)."""
    return F.cross_entropy(scores, y, reduction="none")


def squared_norm(scores: Tensor, y: Tensor) -> Tensor:
    """Of each image's scores, (b,); labels do not matter."""
    return scores.square().sum(1)


def absolute_sum(scores: Tensor, y: Tensor) -> Tensor:
    """Of each image's scores, (b,); labels do not matter."""
    return scores.abs().sum(1)


def single_score(label: int, scores: Tensor, y: Tensor) -> Tensor:
    """Each image's score of one label, (b,); 0 where its task has no such label."""
    return scores[:, label] if label < scores.shape[1] else 0 * scores[:, 0]


def cast(batches: Iterable[Batch], named: Named) -> Iterator[Batch]:
    """The batches in the precision of the parameters."""
    dtype = next((p.dtype for p in named.values()), torch.get_default_dtype())
    for batch in batches:
        yield batch._replace(x=batch.x.to(dtype))


def by_task(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The batches, those of several tasks cut into one for each."""
    for batch in batches:
        tasks = batch.t.unique().tolist()
        if len(tasks) == 1:
            yield batch
            continue
        for task in tasks:
            rows = torch.nonzero(batch.t == task)[:, 0]
            here = rows.to(batch.y.device)
            yield Batch(batch.x[here], batch.y[here], batch.t[rows])


def image_mean(
    network: TaskNetwork,
    batches: Iterable[Batch],
    named: Named,
    objective: Objective,
    size: Size = "absolute",
) -> dict[str, Tensor]:
    """Mean over images of the absolute or squared gradient of each image's objective.

    The result does not depend on how the images are batched. The network must be in evaluation
    mode, so that batch-norm does not mix images.

    Args:
        network: gives the class scores.
        batches: of one task or of several.
        named: parameters by their names in the network.
        objective: what is differentiated.
        size: of a gradient's entries.

    Returns:
        A tensor of the shape of each parameter, by name.

    Raises:
        ValueError: the network has an operation that cannot be differentiated image by image.
    """
    totals = {name: torch.zeros_like(p) for name, p in named.items()}
    count = 0
    for batch in by_task(cast(batches, named)):
        task = int(batch.t[0])
        with torch.enable_grad(), Calls(named) as calls:
            total = objective(network.logits(batch.x, task), batch.y).sum()
        once = calls.used_once()
        outputs = [call.z for call in once]
        deltas = torch.autograd.grad(total, outputs, allow_unused=True) if outputs else ()
        for call, delta in zip(once, deltas, strict=True):
            if delta is not None:
                call.add(totals, delta.detach(), size)
        rest = {name: p for name, p in named.items() if name not in calls.covered(once)}
        if rest:
            _differentiate(network, batch, task, rest, objective, size, totals)
        count += len(batch.y)
    return {name: total / max(count, 1) for name, total in totals.items()}


def local_mean(network: TaskNetwork, batches: Iterable[Batch], named: Named) -> dict[str, Tensor]:
    """Mean over images of |y u^T| for every layer y = relu(W u): its own importance (local MAS).

    The sum over positions of a convolution is taken before the absolute value. Half the gradient
    of the squared norm of the layer's output.

    Raises:
        ValueError: a parameter that is no weight or bias of a layer used once.
    """
    totals = {name: torch.zeros_like(p) for name, p in named.items()}
    count = 0
    for batch in by_task(cast(batches, named)):
        with torch.no_grad(), Calls(named) as calls:
            network.logits(batch.x, int(batch.t[0]))
        once = calls.used_once()
        for call in once:
            call.add(totals, F.relu(call.z), "absolute")
        missing = named.keys() - calls.covered(once)
        if missing:
            raise ValueError(
                f"strategy.importance=local: {min(missing)} is no weight of a layer that is used "
                "once; give global, or a backbone of plain layers"
            )
        count += len(batch.y)
    return {name: total / max(count, 1) for name, total in totals.items()}


def batch_mean(
    network: TaskNetwork, batches: Iterable[Batch], named: Named, objective: Objective
) -> dict[str, Tensor]:
    """Mean over batches of |gradient of the batch's mean objective|: less than `image_mean`."""
    totals = {name: torch.zeros_like(p) for name, p in named.items()}
    count = 0
    for batch in cast(batches, named):
        with torch.enable_grad():
            mean = objective(network(batch.x, batch.t), batch.y).mean()
        gradients = torch.autograd.grad(mean, list(named.values()), allow_unused=True)
        for name, gradient in zip(named, gradients, strict=True):
            if gradient is not None:
                totals[name] += gradient.abs()
        count += 1
    return {name: total / max(count, 1) for name, total in totals.items()}


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


class Calls(TorchFunctionMode):
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


def _differentiate(
    network: TaskNetwork,
    batch: Batch,
    task: int,
    named: Named,
    objective: Objective,
    size: Size,
    totals: dict[str, Tensor],
) -> None:
    """Adds the sizes of the gradients in `named`, by vectorised differentiation."""
    values = {name: p.detach() for name, p in named.items()}

    def of_image(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        inside = {f"network.{name}": value for name, value in values.items()}
        scores = functional_call(_Logits(network), inside, (x[None], task))
        return objective(scores, y[None])[0]

    of_images = vmap(grad(of_image), in_dims=(None, 0, 0), chunk_size=CHUNK)
    try:
        found = of_images(values, batch.x, batch.y)
    except RuntimeError as error:  # an operation that PyTorch cannot vectorise
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"strategy.estimator=exact: gradients of single images cannot be taken in {min(named)} "
            f"({reason}); give batched, or another backbone"
        ) from None
    for name, gradients in found.items():
        resized = gradients.abs() if size == "absolute" else gradients.square()
        totals[name] += resized.sum(0)


class _Logits(nn.Module):
    """The scores under one task as a module's call."""

    def __init__(self, network: TaskNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, task: int) -> Tensor:
        return self.network.logits(x, task)
