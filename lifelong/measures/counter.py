"""PyTorch's counter of multiply-adds, completed where it counts wrongly or not at all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

Shape = Sequence[int]
ATEN = torch.ops.aten


@contextmanager
def counted() -> Iterator[FlopCounterMode]:
    """Counts floating-point operations, two for each multiply-add.

    Kernels that do many layers at once are left out by PyTorch's counter: in here attention,
    encoder layers and recurrent layers are computed by the products that they are made of.
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    libraries: list[Any] = [torch.backends.mkldnn, torch.backends.cudnn]
    enabled = [library.enabled for library in libraries]
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        for library in libraries:
            library.enabled = False
        with FlopCounterMode(display=False, custom_mapping=FORMULAS) as counter:
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        for library, before in zip(libraries, enabled, strict=True):
            library.enabled = before


def _convolution(x: Shape, weight: Shape, transposed: bool, out: Shape) -> int:
    """Each number that comes out, or of a transposed one goes in, meets the filters of a group."""
    return 2 * math.prod(x if transposed else out) * math.prod(weight[1:])


def _forward(
    x: Shape, weight: Shape, bias: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, *rest: Any, out_shape: Shape, **more: Any,
) -> int:  # fmt: skip
    return _convolution(x, weight, transposed, out_shape)


def _backward(
    out: Shape, x: Shape, weight: Shape, bias: Any, stride: Any, padding: Any, dilation: Any,
    transposed: bool, output_padding: Any, groups: int, wanted: Sequence[bool], **more: Any,
) -> int:  # fmt: skip
    """The gradients in the images and in the weights, as far as they are wanted."""
    return (wanted[0] + wanted[1]) * _convolution(x, weight, transposed, out)


def _matrix_vector(matrix: Shape, vector: Shape, **more: Any) -> int:
    return 2 * math.prod(matrix)


def _added(bias: Shape, matrix: Shape, vector: Shape, **more: Any) -> int:
    return 2 * math.prod(matrix)


def _trilinear(one: Shape, two: Shape, three: Shape, *added: Sequence[int], **more: Any) -> int:
    """Of `nn.Bilinear`: each input has dimensions of length 1 at the places that are added."""
    whole: list[int] = []
    for shape, places in zip((one, two, three), added, strict=False):
        sides = list(shape)
        for place in sorted(places):
            sides.insert(place, 1)
        whole = sides if not whole else [max(a, b) for a, b in zip(whole, sides, strict=True)]
    return 2 * math.prod(whole)


FORMULAS = {
    ATEN._trilinear: _trilinear,
    ATEN.convolution: _forward,
    ATEN._convolution: _forward,
    ATEN.convolution_backward: _backward,
    ATEN.mv: _matrix_vector,
    ATEN.addmv: _added,
    ATEN.dot: _matrix_vector,
}
